"""Run a submission: the student's cells in their process, the tests in this one.

In a test, the names that the answer cells define are functions that call the student's. Everything
else in a test is the project's own.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from course.grading import wire
from course.grading.channels import StudentEnded, StudentLate
from course.grading.results import NOT_RUN, Verdict
from course.grading.student import Limits, Student
from course.grading.submissions import Step, names_bound_by
from course.marketplace import clients
from helpers.errors import StoreError

#: The file name of a test's code in a traceback.
TEST = "<test>"

_GIVEN_SECONDS = 120.0


@dataclass
class Outcome:
    """The outcome of running a notebook.

    ``failures`` are those of the student's cells, by cell name; ``events`` are sentences.
    ``uncertain`` says that a limit of time, a store or the end of the process failed a cell or a
    test, which a busy machine may have caused.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    uncertain: bool = False


class TestLate(BaseException):
    """A test ran for too long."""


def run(steps: Sequence[Step], student: Student, limits: Limits) -> Outcome:
    """Run ``steps`` and return the outcome; a step that fails does not stop the others.

    Raises ``GradingError`` if the student's process does not start.
    """
    outcome = Outcome()
    tests = Tests(steps, student, limits)
    for number, step in enumerate(steps):
        if time.monotonic() > student.ends_at:
            outcome.uncertain = True
            outcome.events.append(
                f"The notebook ran for more than {limits.notebook_seconds:g} s and was stopped at "
                f"{step.name}."
            )
            for left in steps[number:]:
                if left.is_test:
                    why = f"{NOT_RUN}: the notebook had been stopped before it"
                    outcome.verdicts[left.name] = Verdict(False, why)
            break
        if step.is_test:
            outcome.verdicts[step.name] = tests.verdict(step, outcome)
        else:
            _run_cell(step, student, outcome)
    return outcome


def _run_cell(step: Step, student: Student, outcome: Outcome) -> None:
    try:
        student.run_cell(step.name, step.text)
    except StudentLate as late:
        outcome.uncertain = True
        outcome.failures[step.name] = str(late)
        outcome.events.append(f"{step.name} {late}.")
    except StudentEnded as ended:
        outcome.uncertain |= ended.uncertain
        outcome.failures[step.name] = str(ended)
        outcome.events.append(f"{step.name} {ended}; the other cells were run again without it.")
    except Exception as error:  # noqa: BLE001 - a cell may raise anything
        outcome.failures[step.name] = f"failed: {_named(error)}"


class Tests:
    """Runs the tests of a project; each has its own names."""

    def __init__(self, steps: Sequence[Step], student: Student, limits: Limits) -> None:
        self._student, self._limits = student, limits
        sources = [step.source for step in steps if step.source is not None]
        self._answers = {
            name for cell in sources if cell.kind == "answer" for name in names_bound_by(cell.text)
        }
        used = set().union(*(_names(cell.text) for cell in sources if cell.kind == "test"))
        given = [cell.text for cell in sources if cell.kind == "given"]
        # Only the given cells that define what tests use: the others open stores and show tables.
        needed: list[str] = []
        for text in reversed(given):
            if used.intersection(names_bound_by(text)):
                needed.append(text)
                used |= _names(text)
        # In the students' version, an answer need not bind its name yet.
        bound = {name for cell in sources if cell.restored for name in names_bound_by(cell.text)}
        self._answers |= used - bound - set(dir(builtins))
        self._given = [compile(text, "<given>", "exec") for text in reversed(needed)]

    def verdict(self, step: Step, outcome: Outcome) -> Verdict:
        """Run one test."""
        deadline = min(time.monotonic() + self._limits.cell_seconds, self._student.ends_at)
        stubs = {name: self._student.function(name, deadline) for name in self._answers}
        why = f"ran for more than {self._limits.cell_seconds:g} s and was stopped"
        try:
            remote = self._student.clients
            with _clients(remote), _deadline(deadline), contextlib.redirect_stdout(io.StringIO()):
                names: dict[str, Any] = {"__builtins__": builtins, "__name__": "__test__"}
                for given in self._given:
                    exec(given, names)  # noqa: S102
                exec(compile(step.text, TEST, "exec"), names | stubs)  # noqa: S102
        except (StudentLate, TestLate):
            outcome.uncertain = True
            return Verdict(False, f"it {why}")
        except StudentEnded as ended:
            outcome.uncertain |= ended.uncertain
            return Verdict(False, f"the answer {ended}")
        except Exception as error:  # noqa: BLE001 - a test may raise anything
            outcome.uncertain |= isinstance(error, StoreError) or not _is_students(error)
            return Verdict(False, _why(error))
        finally:
            self._student.forget()
        return Verdict(True)


@contextlib.contextmanager
def _clients(remote: clients.Clients | None) -> Iterator[None]:
    before = clients.clients
    clients.use(remote or before)
    try:
        yield
    finally:
        clients.use(before)


@contextlib.contextmanager
def _deadline(deadline: float) -> Iterator[None]:
    """Raise ``TestLate`` soon after ``deadline``: requests to the student end first."""

    def late(*_: object) -> None:
        raise TestLate

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, deadline - time.monotonic()) + 15)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _is_students(error: BaseException) -> bool:
    """Return whether a test failed by what the student's functions return or raise."""
    return _is_own(error) or isinstance(error, wire.WireError) or hasattr(error, "where")


def _is_own(error: BaseException) -> bool:
    """Return whether a test's own assertion failed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, AssertionError)
        and trace is not None
        and trace.tb_frame.f_code.co_filename == TEST
    )


def _why(error: BaseException) -> str:
    if isinstance(error, wire.WireError):
        return wire.clean(str(error))
    if _is_own(error):
        return wire.clean(str(error)) or "what it asserts does not hold"
    where = getattr(error, "where", "")
    return f"{type(error).__name__} was raised{f' in {where}' if where else ''}"


def _named(error: BaseException) -> str:
    line = next(iter(wire.clean(str(error), 200).strip().splitlines()), "")
    return f"{type(error).__name__}{': ' if line else ''}{line}"


def _names(text: str) -> set[str]:
    """Return the names that a cell uses and does not assign."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # an IPython magic
        return set()
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names} - own
