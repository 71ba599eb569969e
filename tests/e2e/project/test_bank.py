"""Every right answer gets full points; every mistake costs points in its task, in no other.

The answers of a task are in one class, so that two processes can share the tasks between them.
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

#: Whether each mistake is run with all tasks, which takes an hour, and not only with its own.
EVERYWHERE = os.environ.get("BANK_EVERYWHERE") == "1"

# Those that leave tables, documents, keys or connections in the worst state.
INTRUSIVE = {
    "a": "the distribution column is not in the key",
    "b": "a validator that accepts everything",
    "c": "kept in the process",
    "d": "a query in PostgreSQL for each listing",
    "e": "no store may be away",
    "f": "written down from the checks that are seen",
}
# The tasks with a mistake in one run of the notebook. For any two tasks there is a run with a
# mistake in the first and none in the second.
TOGETHER = ("abc", "ade", "bdf", "cef")
# Each is refused by another kind of check, and early.
ONE_MISTAKE_EACH = {
    "a": "nothing is distributed",
    "b": "a validator that accepts everything",
    "c": "a buyer who asks again gets more time",
    "d": "a missing key is zero",
    "e": "rows without details are dropped",
    "f": "rows of listings",
}


@pytest.fixture(scope="module")
def runner(shared: Stores) -> Iterator[Runner]:
    """A runner of answers, with databases of its own."""
    name = f"{shared.mongo.name}_answers"
    number = shared.redis.connection_pool.connection_kwargs["db"]
    with Runner({NAME: name, NUMBER: str(number)}) as started:
        yield started
    shared.mongo.client.drop_database(name)
    settings = load_settings()
    if settings.addresses is None:
        drop_database(nodes_of(locate(settings)), name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the tests of a task the names of its right answers and of its mistakes."""
    if isinstance(metafunc.cls, type) and issubclass(metafunc.cls, Answers):
        bank = BANK[metafunc.cls.task]
        for argument, answers in (("right", bank.CORRECT), ("mistake", bank.WRONG)):
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
    assert graded.points[task] < full_points()[task], f"{mistake} is not noticed"


def _assert_others_lose_nothing(runner: Runner, mistakes: dict[str, str]) -> None:
    graded = runner.grade({task: BANK[task].WRONG[name] for task, name in mistakes.items()})
    for task, points in full_points().items():
        assert (graded.points[task] < points) == (task in mistakes), _explained(graded)


def test_there_are_answers_of_each_kind() -> None:
    for task in TASKS:
        assert len(set(BANK[task].CORRECT.values())) >= 2
        assert len(set(BANK[task].WRONG.values())) >= 5


def test_any_two_tasks_are_run_with_a_mistake_in_the_first_alone() -> None:
    for first, second in permutations(TASKS, 2):
        assert [tasks for tasks in TOGETHER if first in tasks and second not in tasks]


class TestOneOfEachKind:
    """What a change of the project or of its checks is likely to break."""

    def test_own_answers_get_full_points(self, runner: Runner) -> None:
        """Some of them: the notebook's test runs all of them with all their checks."""
        _assert_full_points(runner.grade({}, tasks="ab"), "ab")

    def test_untouched_stubs_get_nothing(self, runner: Runner) -> None:
        graded = runner.grade({task: untouched(task) for task in TASKS})
        assert graded.points == dict.fromkeys(TASKS, 0)
        # Each for the same reason: nothing was written, and no check fell over something else.
        found = {error.splitlines()[-1] for error in graded.errors.values()}
        assert found == {"NotImplementedError"}

    @pytest.mark.parametrize("task", TASKS)
    def test_a_mistake_costs_points(self, runner: Runner, task: str) -> None:
        _assert_costs_points(runner, task, ONE_MISTAKE_EACH[task])


@pytest.mark.verify
class Answers:
    """The answers to one task, each run without the other tasks."""

    task: str

    def test_the_notebooks_own_answer_gets_full_points(self, runner: Runner) -> None:
        _assert_full_points(runner.grade({}, tasks=self.task), self.task)

    def test_a_right_answer_gets_full_points(self, runner: Runner, right: str) -> None:
        answers = {self.task: BANK[self.task].CORRECT[right]}
        _assert_full_points(runner.grade(answers, tasks=self.task), self.task)

    def test_a_mistake_costs_points(self, runner: Runner, mistake: str) -> None:
        _assert_costs_points(runner, self.task, mistake)
        if EVERYWHERE:
            _assert_others_lose_nothing(runner, {self.task: mistake})


class TestTaskA(Answers):
    """How the tables are distributed."""

    task = "a"


class TestTaskB(Answers):
    """How documents are validated and migrated."""

    task = "b"


class TestTaskC(Answers):
    """How units are reserved."""

    task = "c"


class TestTaskD(Answers):
    """How the three stores are joined."""

    task = "d"


class TestTaskE(Answers):
    """What is left without a store."""

    task = "e"


class TestTaskF(Answers):
    """How it is proved."""

    task = "f"


@pytest.mark.verify
class TestAllTasks:
    """The tasks in one run of the notebook, one after another."""

    @pytest.mark.parametrize("seed", [1, 2027, 90210])
    def test_another_years_seed_is_as_good(self, seed: int, runner: Runner) -> None:
        # What task E waits for, which takes half of the time, does not depend on the seed.
        tasks = TASKS if seed == 2027 else TASKS.replace("e", "")
        _assert_full_points(runner.grade({}, tasks=tasks, seed=seed), tasks)

    @pytest.mark.parametrize("tasks", TOGETHER)
    def test_a_mistake_costs_points_in_no_other_task(self, tasks: str, runner: Runner) -> None:
        """``BANK_EVERYWHERE=1`` tries it with every mistake; here those that leave much behind.

        That one task cannot reach another is shown in ``test_notebook`` as well: no check uses a
        name that another task's answer may have set.
        """
        _assert_others_lose_nothing(runner, {task: INTRUSIVE[task] for task in tasks})
