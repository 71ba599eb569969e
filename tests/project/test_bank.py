"""Every right answer gets full points; every mistake costs points in its task, in no other."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import pytest

from helpers.project.databases import NAME, NUMBER
from helpers.settings import load_settings
from helpers.stores import Stores, locate
from helpers.stores.cluster import drop_database, nodes_of
from tests.project.running import TASKS, Graded, Runner, full_points, untouched

BANK = {task: importlib.import_module(f"tests.project.bank.{task}") for task in TASKS}
CORRECT = [(task, name) for task in TASKS for name in BANK[task].CORRECT]
WRONG = [(task, name) for task in TASKS for name in BANK[task].WRONG]

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


def _explained(graded: Graded) -> str:
    return "\n".join(f"{name}: {error}" for name, error in graded.errors.items())


def test_the_notebooks_own_answers_get_full_points(runner: Runner) -> None:
    graded = runner.grade({})
    assert graded.points == full_points(), _explained(graded)


def test_untouched_stubs_get_nothing(runner: Runner) -> None:
    graded = runner.grade({task: untouched(task) for task in TASKS})
    assert graded.points == dict.fromkeys(TASKS, 0)
    # Each for the same reason: nothing was written, and no check fell over something else.
    assert {error.splitlines()[-1] for error in graded.errors.values()} == {"NotImplementedError"}


@pytest.mark.bank
@pytest.mark.parametrize("seed", [1, 2027, 90210])
def test_another_years_seed_is_as_good(seed: int, runner: Runner) -> None:
    graded = runner.grade({}, seed=seed)
    assert graded.points == full_points(), _explained(graded)


@pytest.mark.parametrize("task", TASKS)
def test_there_are_answers_of_each_kind(task: str) -> None:
    assert len(set(BANK[task].CORRECT.values())) >= 2
    assert len(set(BANK[task].WRONG.values())) >= 5


@pytest.mark.bank
@pytest.mark.parametrize(("task", "name"), CORRECT, ids=lambda one: one)
def test_a_right_answer_gets_full_points(task: str, name: str, runner: Runner) -> None:
    graded = runner.grade({task: BANK[task].CORRECT[name]}, tasks=task)
    assert graded.points[task] == full_points()[task], _explained(graded)


@pytest.mark.bank
@pytest.mark.parametrize(("task", "name"), WRONG, ids=lambda one: one)
def test_a_mistake_costs_points(task: str, name: str, runner: Runner) -> None:
    tasks = TASKS if EVERYWHERE else task
    graded = runner.grade({task: BANK[task].WRONG[name]}, tasks=tasks)
    assert graded.points[task] < full_points()[task], f"{name} is not noticed"
    if EVERYWHERE:
        assert graded.points | {task: 0} == full_points() | {task: 0}, _explained(graded)


@pytest.mark.bank
@pytest.mark.parametrize("task", TASKS)
def test_a_mistake_costs_points_in_no_other_task(task: str, runner: Runner) -> None:
    """For every mistake, ``BANK_EVERYWHERE=1`` runs all tasks. Here one that leaves much behind.

    That one task cannot reach another is shown in ``test_notebook`` as well: no check uses a name
    that another task's answer may have set.
    """
    name = INTRUSIVE[task]
    graded = runner.grade({task: BANK[task].WRONG[name]})
    assert graded.points | {task: 0} == full_points() | {task: 0}, _explained(graded)


@pytest.mark.bank
def test_no_task_needs_another(runner: Runner) -> None:
    """Each by itself earns what it earns among the others."""
    for task in TASKS:
        graded = runner.grade({}, tasks=task)
        assert graded.points == dict.fromkeys(TASKS, 0) | {task: full_points()[task]}
