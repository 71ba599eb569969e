"""Run a submission's cells and tests: verdicts, failures, events, and what is uncertain."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from course.grading import wire
from course.grading.channels import StudentEnded, StudentLate
from course.grading.running import Outcome, run
from course.grading.source import Notebook
from course.grading.student import Limits, Student
from course.grading.submissions import restore
from helpers.errors import StoreError
from tests.course.grading import building
from tests.e2e.hostile import notebooks as hostile

_LIMITS = Limits(cell_seconds=7, notebook_seconds=70)
_MINE = hostile.name_of(0)


def _not_called(*_: object) -> None:
    raise AssertionError


class Scripted:
    """A fake student, whose cells and functions do what the test says."""

    clients = None

    def __init__(
        self,
        add: Callable[..., Any] = sum,
        cell: Callable[[str], None] = lambda _: None,
        ends_in: float = 1000,
    ) -> None:
        self._functions: dict[str, Callable[..., Any]] = {"add": add, "greatest": max}
        self._cell = cell
        self.ends_at = time.monotonic() + ends_in
        self.texts: list[str] = []

    def run_cell(self, _: str, text: str) -> None:
        self.texts.append(text)
        self._cell(text)

    def function(self, name: str, _: float) -> Callable[..., Any]:
        return self._functions.get(name, _not_called)

    def forget(self) -> None:
        """Do nothing."""


def _outcome(student: Scripted, project: Notebook | None = None) -> Outcome:
    source = building.source(project or building.sums())
    steps = restore(source, hostile.with_cells("mine")).steps
    return run(steps, cast("Student", student), _LIMITS)


def _raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_cells_run_in_the_students_process_and_tests_do_not() -> None:
    student = Scripted()
    outcome = _outcome(student)
    steps = restore(building.source(building.sums()), hostile.with_cells("mine")).steps
    assert student.texts == [step.text for step in steps if not step.is_test]
    assert not [text for text in student.texts if "assert" in text]
    assert [*outcome.verdicts] == ["a-add-visible", "a-add-hidden", "b-greatest-test"]
    assert all(verdict.passed for verdict in outcome.verdicts.values())
    assert (outcome.failures, outcome.events, outcome.uncertain) == ({}, [], False)


def test_each_test_has_its_own_names() -> None:
    project = building.changed(
        building.sums(),
        a_add_visible="NUMBERS.append(4)\nlen = None\nadd = None\nassert NUMBERS",
        a_add_hidden="### BEGIN HIDDEN TESTS\nassert len('x') == add([1])\n### END HIDDEN TESTS",
    )
    assert all(verdict.passed for verdict in _outcome(Scripted(), project).verdicts.values())


def test_only_given_cells_that_tests_use_run_in_the_graders_process() -> None:
    project = building.sums()
    project["cells"].insert(2, building.given("opens", "shop = undefined\nnumbers = 3"))
    assert all(verdict.passed for verdict in _outcome(Scripted(), project).verdicts.values())


@pytest.mark.parametrize(
    ("error", "failure", "uncertain"),
    [
        (KeyError("x"), "failed: KeyError: 'x'", False),
        (wire.StudentError("SystemExit: 3"), "failed: StudentError: SystemExit: 3", False),
        (StudentLate("ran for too long and was stopped"), "ran for too long and was stopped", True),
        (StudentEnded("ended the process"), "ended the process", True),
    ],
)
def test_a_failing_cell_does_not_stop_the_others(
    error: Exception, failure: str, uncertain: bool
) -> None:
    student = Scripted(cell=lambda text: _raising(error)() if text == "mine" else None)
    outcome = _outcome(student)
    assert outcome.failures == {_MINE: failure}
    assert all(verdict.passed for verdict in outcome.verdicts.values())
    assert outcome.uncertain == uncertain


def _of_student(error: Exception) -> Exception:
    error.__dict__["where"] = "add"
    return error


@pytest.mark.parametrize(
    ("add", "why", "uncertain"),
    [
        (lambda _: 7, "three numbers are added", False),
        (lambda _: None, "three numbers are added", False),
        (_raising(_of_student(KeyError("secret"))), "KeyError was raised in add", False),
        (_raising(_of_student(StoreError("Redis", "a", "b", "c"))), "StoreError was raised", True),
        (_raising(wire.WireError("add() is odd")), "add() is odd", False),
        (_raising(StudentLate()), "it ran for more than 7 s and was stopped", True),
        (_raising(StudentEnded("ended the process")), "the answer ended the process", True),
        # What the test itself cannot do may be the machine's fault.
        (_raising(OSError("no space left")), "OSError was raised", True),
    ],
)
def test_a_failing_test_costs_its_own_points_only(
    add: Callable[..., Any], why: str, uncertain: bool
) -> None:
    outcome = _outcome(Scripted(add))
    verdict = outcome.verdicts["a-add-visible"]
    assert (verdict.passed, verdict.why.startswith(why)) == (False, True), verdict.why
    assert outcome.verdicts["b-greatest-test"].passed
    assert outcome.uncertain == uncertain


def test_messages_are_short_and_printable() -> None:
    project = building.changed(
        building.sums(), a_add_visible="assert False, add(0)\n", b_greatest_test="assert False"
    )
    outcome = _outcome(Scripted(lambda _: "\x1b[2J\ud800" + "x" * 300_000), project)
    why = outcome.verdicts["a-add-visible"].why
    assert len(why) < 600
    assert "\x1b" not in why
    why.encode()
    assert outcome.verdicts["b-greatest-test"].why == "what it asserts does not hold"


def test_nothing_runs_after_the_time_limit_of_the_notebook() -> None:
    student = Scripted(ends_in=-1)
    outcome = _outcome(student)
    assert student.texts == []
    (event,) = outcome.events
    assert event.startswith("The notebook ran for more than 70 s and was stopped at given-numbers")
    assert [verdict.passed for verdict in outcome.verdicts.values()] == [False] * 3
    assert outcome.uncertain
