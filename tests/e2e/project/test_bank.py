"""Correct answers get full points, partial ones a part; a mistake costs points in its task only.

Each task has a class, so that tasks can be tested in parallel.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from itertools import permutations

import pytest

from course.marketplace.project_databases import NAME, NUMBER
from helpers.citus.cluster_databases import drop_database, nodes_of
from helpers.settings import load_settings
from helpers.shop import locate
from helpers.stores import Stores
from tests.e2e.project.running import TASKS, Graded, Runner, full_points, untouched

BANK = {task: importlib.import_module(f"tests.e2e.project.bank.{task}") for task in TASKS}

#: Whether each mistake is run with all tasks, which takes an hour, instead of its own only.
EVERYWHERE = os.environ.get("BANK_EVERYWHERE") == "1"

# The mistakes that leave the most behind: tables, documents, keys, connections.
INTRUSIVE = {
    "a": "the distribution column is not in the key",
    "b": "a validator that accepts everything",
    "c": "kept in process memory",
    "d": "one PostgreSQL query per listing",
    "e": "every store must be available",
    "f": "copied from the visible tests",
}
# The tasks with a mistake in one run of the notebook: for any two tasks, one run has a mistake in
# the first and none in the second.
TOGETHER = ("abc", "ade", "bdf", "cef")
# Each fails an early test of a different kind.
ONE_MISTAKE_EACH = {
    "a": "nothing is distributed",
    "b": "a validator that accepts everything",
    "c": "a buyer who retries gets more time",
    "d": "a missing key is zero",
    "e": "rows without details are dropped",
    "f": "rows of listings",
}


@pytest.fixture(scope="module")
def runner(shared: Stores) -> Iterator[Runner]:
    """A runner with its own databases."""
    name = f"{shared.mongo.name}_answers"
    number = shared.redis.connection_pool.connection_kwargs["db"]
    with Runner({NAME: name, NUMBER: str(number)}) as started:
        yield started
    shared.mongo.client.drop_database(name)
    settings = load_settings()
    if settings.addresses is None:
        drop_database(nodes_of(locate(settings)), name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize the tests of a task with its correct answers and its mistakes."""
    if isinstance(metafunc.cls, type) and issubclass(metafunc.cls, Answers):
        bank = BANK[metafunc.cls.task]
        mistakes = [name for name in bank.WRONG if name not in bank.PARTIAL]
        for argument, answers in (
            ("correct", bank.CORRECT),
            ("mistake", mistakes),
            ("partial", bank.PARTIAL),
        ):
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, answers)


def _explained(graded: Graded) -> str:
    return "\n".join(f"{name}: {error}" for name, error in graded.errors.items())


def _assert_full_points(graded: Graded, tasks: str) -> None:
    expected = {task: points for task, points in full_points().items() if task in tasks}
    assert graded.points == dict.fromkeys(TASKS, 0) | expected, _explained(graded)


def _assert_costs_points(runner: Runner, task: str, mistake: str) -> None:
    answers = {task: BANK[task].WRONG[mistake]}
    graded = runner.grade(answers, tasks=task, until_lost=True)
    assert graded.points[task] < full_points()[task], f"no test detects the mistake: {mistake}"


def _assert_others_lose_nothing(runner: Runner, mistakes: dict[str, str]) -> None:
    graded = runner.grade({task: BANK[task].WRONG[name] for task, name in mistakes.items()})
    for task, points in full_points().items():
        assert (graded.points[task] < points) == (task in mistakes), _explained(graded)


def test_every_task_has_correct_wrong_and_partial_answers() -> None:
    for task in TASKS:
        assert len(set(BANK[task].CORRECT.values())) >= 2
        assert len(BANK[task].PARTIAL) >= 3
        assert len(set(BANK[task].WRONG.values())) >= 5 + len(BANK[task].PARTIAL)


def test_runs_cover_every_pair_of_tasks() -> None:
    for first, second in permutations(TASKS, 2):
        assert [tasks for tasks in TOGETHER if first in tasks and second not in tasks]


class TestOneOfEachKind:
    """A selection of answers, for `make test`."""

    def test_solutions_get_full_points(self, runner: Runner) -> None:
        """Two tasks; nbval runs all solutions with all tests."""
        _assert_full_points(runner.grade({}, tasks="ab"), "ab")

    def test_stubs_get_no_points(self, runner: Runner) -> None:
        graded = runner.grade({task: untouched(task) for task in TASKS})
        assert graded.points == dict.fromkeys(TASKS, 0)
        # All for the same reason, so no test fails because of something else.
        found = {error.splitlines()[-1] for error in graded.errors.values()}
        assert found == {"NotImplementedError"}

    @pytest.mark.parametrize("task", TASKS)
    def test_a_mistake_costs_points(self, runner: Runner, task: str) -> None:
        _assert_costs_points(runner, task, ONE_MISTAKE_EACH[task])


@pytest.mark.verify
class Answers:
    """The answers to one task, run without the other tasks."""

    task: str

    def test_the_solution_gets_full_points(self, runner: Runner) -> None:
        _assert_full_points(runner.grade({}, tasks=self.task), self.task)

    def test_a_correct_answer_gets_full_points(self, runner: Runner, correct: str) -> None:
        answers = {self.task: BANK[self.task].CORRECT[correct]}
        _assert_full_points(runner.grade(answers, tasks=self.task), self.task)

    def test_a_mistake_costs_points(self, runner: Runner, mistake: str) -> None:
        _assert_costs_points(runner, self.task, mistake)
        if EVERYWHERE:
            _assert_others_lose_nothing(runner, {self.task: mistake})

    def test_a_partial_answer_keeps_the_points_for_what_is_right(
        self, runner: Runner, partial: str
    ) -> None:
        graded = runner.grade({self.task: BANK[self.task].WRONG[partial]}, tasks=self.task)
        assert graded.points[self.task] == BANK[self.task].PARTIAL[partial], _explained(graded)


class TestTaskA(Answers):
    """Distributing tables."""

    task = "a"


class TestTaskB(Answers):
    """Validating and migrating documents."""

    task = "b"


class TestTaskC(Answers):
    """Reserving units."""

    task = "c"


class TestTaskD(Answers):
    """Joining the three stores."""

    task = "d"


class TestTaskE(Answers):
    """Partial results without a store."""

    task = "e"


class TestTaskF(Answers):
    """Evidence from the stores."""

    task = "f"


@pytest.mark.verify
class TestAllTasks:
    """All tasks in one run of the notebook."""

    @pytest.mark.parametrize("seed", [1, 2027, 90210])
    def test_solutions_get_full_points_with_other_seeds(self, seed: int, runner: Runner) -> None:
        # Task E takes half of the time, and does not depend on the seed.
        tasks = TASKS if seed == 2027 else TASKS.replace("e", "")
        _assert_full_points(runner.grade({}, tasks=tasks, seed=seed), tasks)

    @pytest.mark.parametrize("tasks", TOGETHER)
    def test_a_mistake_costs_points_in_no_other_task(self, tasks: str, runner: Runner) -> None:
        """Uses the mistakes that leave the most behind; ``BANK_EVERYWHERE=1`` uses all.

        ``test_notebook`` also checks that no test uses a name that another task's answer may set.
        """
        _assert_others_lose_nothing(runner, {task: INTRUSIVE[task] for task in tasks})
