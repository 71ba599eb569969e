"""The outcome of a notebook for each kind of reply of the kernel, without a real kernel."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from course.grading.running import Excess, Kernel, KernelEnded, Limits, Outcome, _LimitMonitor, run
from course.grading.submissions import restore
from helpers.errors import GradingError
from tests.course.grading import building
from tests.e2e.hostile import notebooks as hostile

Reply = tuple[dict[str, Any], Excess | None]
_LIMITS = Limits(cell_seconds=7, notebook_seconds=70, output_mib=3)
_STEPS = restore(building.source(building.sums()), hostile.with_cells("mine")).steps
_MINE = hostile.name_of(0)


class Scripted:
    """A fake kernel with scripted replies to cells and to grader requests."""

    def __init__(
        self,
        cell: Callable[[str], Reply] = lambda _: ({"status": "ok"}, None),
        test: Callable[[str], Reply] = lambda _: ({"ok": True}, None),
        guard: Callable[[], dict[str, Any]] = lambda: {"ok": True, "replaced": []},
        always: dict[str, Any] | None = None,
        ends_at: float = math.inf,
    ) -> None:
        self._always = always
        self.limits, self.ends_at = _LIMITS, ends_at
        self._cell, self._test, self._guard = cell, test, guard
        self.kept: list[str] = []
        self.texts: list[str] = []

    def execute(self, text: str) -> Reply:
        self.texts.append(text)
        return self._cell(text)

    def ask(self, do: str, **more: Any) -> Reply:
        if self._always is not None:
            return self._always, None
        if do == "guard":
            return self._guard(), None
        if do == "test":
            if _is_impossible(more["code"]):
                return {"ok": False}, None
            self.texts.append(more["code"])
            return self._test(more["code"])
        self.kept += more.get("names", [])
        return {"ok": True}, None


def _is_impossible(code: str) -> bool:
    words = code.split()
    return len(words) == 4 and words[0] == "assert" and words[1].isdecimal()


def _outcome(kernel: Scripted) -> Outcome:
    return run(_STEPS, cast("Kernel", kernel))


def test_cells_and_tests_run_in_order_and_names_of_locked_cells_are_kept() -> None:
    kernel = Scripted()
    outcome = _outcome(kernel)
    assert kernel.texts == [step.text for step in _STEPS]
    assert kernel.kept == ["NUMBERS", "double"]
    assert [*outcome.verdicts] == ["a-add-visible", "a-add-hidden", "b-greatest-test"]
    assert all(verdict.passed for verdict in outcome.verdicts.values())
    assert (outcome.failures, outcome.events, outcome.tampered) == ({}, [], "")


def test_a_failing_cell_does_not_stop_the_others() -> None:
    failed = {"status": "error", "ename": "KeyError", "evalue": "'x'\nmore"}
    kernel = Scripted(cell=lambda text: (failed if text == "mine" else {"status": "ok"}, None))
    outcome = _outcome(kernel)
    assert len(kernel.texts) == len(_STEPS)
    assert outcome.failures == {_MINE: "failed: KeyError: 'x'"}


@pytest.mark.parametrize(
    ("excess", "why"),
    [
        ("time", "ran for more than 7 s and was stopped"),
        ("notebook", "ran when the notebook had run for 70 s and was stopped"),
        ("output", "printed more than 3 MiB"),
    ],
)
def test_an_exceeded_limit_is_reported(excess: Excess, why: str) -> None:
    kernel = Scripted(
        cell=lambda text: ({}, excess) if text == "mine" else ({"status": "ok"}, None)
    )
    outcome = _outcome(kernel)
    assert outcome.failures == {_MINE: why}
    assert outcome.events == [f"{_MINE} {why}."]


@pytest.mark.parametrize(
    ("reply", "passed", "why"),
    [
        (({"ok": True}, None), True, ""),
        (({"ok": True}, "output"), True, ""),
        (({"ok": True}, "time"), False, "it ran for more than 7 s and was stopped"),
        (({"ok": 1}, None), False, "an error was raised"),
        (({}, None), False, "an error was raised"),
        (({"ok": False, "message": "three are added"}, None), False, "three are added"),
        (({"error": "KeyError", "where": "add"}, None), False, "KeyError was raised in add"),
        (({"error": "AssertionError"}, None), False, "what it asserts does not hold"),
    ],
)
def test_the_verdict_follows_the_kernels_reply(reply: Reply, passed: bool, why: str) -> None:
    verdict = _outcome(Scripted(test=lambda _: reply)).verdicts["a-add-visible"]
    assert (verdict.passed, verdict.why) == (passed, why)


def test_a_kernel_that_passes_an_impossible_test_is_detected() -> None:
    outcome = _outcome(Scripted(always={"ok": True}))
    assert "made a test pass that cannot" in outcome.tampered
    assert not any(verdict.passed for verdict in outcome.verdicts.values())


def test_replaced_functions_are_reported_once() -> None:
    replaced = {"ok": True, "replaced": ["helpers.explain", "json.dumps", "json.loads"]}
    outcome = _outcome(Scripted(guard=lambda: replaced))
    sentence = (
        "The notebook replaced helpers.explain and 2 more, which was put back before the tests."
    )
    assert outcome.events == [sentence]


def test_nothing_runs_after_the_kernel_has_ended() -> None:
    def end(text: str) -> Reply:
        if text == "mine":
            raise KernelEnded("ended the kernel")
        return {"status": "ok"}, None

    outcome = _outcome(Scripted(cell=end))
    assert outcome.events == [f"{_MINE} ended the kernel: nothing after it could be run."]
    verdict = outcome.verdicts["b-greatest-test"]
    assert (verdict.passed, len(outcome.verdicts)) == (False, 3)
    assert verdict.why == f"could not be run: {_MINE} ended the kernel"


def test_nothing_runs_after_the_time_limit_of_the_notebook() -> None:
    kernel = Scripted(ends_at=time.monotonic() - 1)
    outcome = _outcome(kernel)
    assert kernel.texts == []
    (event,) = outcome.events
    assert event.startswith("The notebook ran for more than 70 s and was stopped at given-numbers")
    assert [verdict.passed for verdict in outcome.verdicts.values()] == [False] * 3


def test_a_kernel_that_does_not_become_ready_raises_an_error() -> None:
    with pytest.raises(GradingError, match=r"could not begin \(ImportError\): try again"):
        _outcome(Scripted(always={"ok": False, "error": "ImportError"}))


class Process:
    """A fake kernel process, which records what is done to it."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def poll(self) -> None:
        """Report that it is running."""

    def wait(self) -> None:
        """Report that it has ended."""

    def kill(self) -> None:
        self.done.append("killed")

    def send_signal(self, number: int) -> None:
        self.done.append(number)


def _monitored(process: Process, *, memory: int = 0, ends_in: float = 1000) -> Kernel:
    used: dict[str, Any] = {"process": process, "client": None}
    return Kernel(
        **used, limits=_LIMITS, memory_used=lambda: memory, ends_at=time.monotonic() + ends_in
    )


@pytest.mark.parametrize(("more", "ended"), [(0, False), (1, True)])
def test_exceeding_the_memory_limit_ends_the_kernel(more: int, ended: bool) -> None:
    process = Process()
    kernel = _monitored(process, memory=_LIMITS.memory_mib * 2**20 + more)
    expected = pytest.raises(KernelEnded, match="more than 2048 MiB of memory")
    with expected if ended else contextlib.nullcontext():
        _LimitMonitor(kernel, math.inf).check()
    assert process.done == ["killed"] * ended


@pytest.mark.parametrize(
    ("deadline", "ends_in", "excess"), [(0, 1000, "time"), (math.inf, -1, "notebook")]
)
def test_exceeding_a_time_limit_interrupts_and_then_ends_the_kernel(
    deadline: float, ends_in: float, excess: Excess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()
    monitor = _LimitMonitor(_monitored(process, ends_in=ends_in), deadline)
    monitor.check()
    assert (monitor.excess, process.done) == (excess, [signal.SIGINT])
    monitor.check()  # it has some seconds to react
    assert process.done == [signal.SIGINT]
    later = time.monotonic() + 6
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(KernelEnded, match="did not let itself be interrupted"):
        monitor.check()
    assert process.done == [signal.SIGINT, "killed"]
