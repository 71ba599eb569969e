"""Run a notebook step by step in a kernel, within limits of time, memory and output."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from course.grading.results import NOT_RUN, Verdict
from course.grading.submissions import Step, modules_used_by
from helpers.errors import GradingError

#: Starts a program in the sandbox, given its arguments.
Launch = Callable[[Sequence[str]], subprocess.Popen[bytes]]

_START_SECONDS = 120.0
_REPEAT_MILLISECONDS = 500
_INTERRUPTED_SECONDS = 5.0
_LOOK_SECONDS = 0.5
# The kernel limits what is printed. Output by other means may be this many times the limit before
# the cell is stopped.
_MUCH_TOO_MUCH = 3
_TAMPERED = "the notebook made a test pass that cannot pass, so none of its tests counts"

Excess = Literal["time", "notebook", "output"]


@dataclass(frozen=True)
class Limits:
    """The limits of a submission: seconds per cell and in total, MiB of memory and of output."""

    cell_seconds: float = 120.0
    notebook_seconds: float = 900.0
    memory_mib: int = 2048
    output_mib: int = 20


@dataclass
class Outcome:
    """The outcome of running a notebook.

    ``failures`` are those of the student's cells, by cell name; ``events`` are sentences.
    ``tampered`` says how it manipulated the tests, if it did; no test counts then.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    tampered: str = ""


class KernelEnded(Exception):  # noqa: N818 - not always an error
    """The kernel ended or was ended; the text completes a sentence that says why."""


@dataclass
class Kernel:
    """A running kernel and the client connected to it."""

    process: subprocess.Popen[bytes]
    client: BlockingKernelClient
    limits: Limits
    memory_used: Callable[[], int]
    ends_at: float

    def execute(self, code: str) -> tuple[dict[str, Any], Excess | None]:
        """Run ``code`` as a cell. Return the reply, and the limit it was stopped for, if any.

        Raises ``KernelEnded``.
        """
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        return self._ask("execute_request", content, self.limits.cell_seconds)

    def ask(self, do: str, **more: Any) -> tuple[dict[str, Any], Excess | None]:
        """Send the kernel a grader request. Raises ``KernelEnded``."""
        if do == "begin":
            self._wait_for_output()
        seconds = _START_SECONDS if do == "begin" else self.limits.cell_seconds
        return self._ask("grader_request", {"do": do, **more}, seconds)

    def _wait_for_output(self) -> None:
        """Send requests until the kernel's output socket delivers a message.

        That socket may connect later than the one for requests, and messages sent before are lost,
        including the one that marks a request as done. Raises ``KernelEnded``.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self.client.kernel_info()
            if self.client.iopub_channel.socket.poll(_REPEAT_MILLISECONDS):
                return
            if self.process.poll() is not None:
                raise KernelEnded("ended")
        raise KernelEnded(f"printed nothing for {_START_SECONDS} s")

    def _ask(
        self, kind: str, content: dict[str, Any], seconds: float
    ) -> tuple[dict[str, Any], Excess | None]:
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        name = message["header"]["msg_id"]
        monitor = _LimitMonitor(self, time.monotonic() + seconds)
        poller = zmq.Poller()
        shell, iopub = self.client.shell_channel.socket, self.client.iopub_channel.socket
        poller.register(shell, zmq.POLLIN)
        poller.register(iopub, zmq.POLLIN)
        answer: dict[str, Any] | None = None
        while True:
            ready = dict(poller.poll(100))
            if iopub in ready:
                monitor.read(iopub, name)
            if shell in ready and answer is None:
                answer = _reply(self.client, name)
            # Output may arrive after the reply, but always before the kernel is idle.
            if answer is not None and monitor.idle:
                if _asks_to_exit(answer):
                    monitor.end("called exit()")
                return answer, monitor.excess
            monitor.check()


class _LimitMonitor:
    """Enforces the limits while one request runs."""

    def __init__(self, kernel: Kernel, deadline: float) -> None:
        self._kernel = kernel
        self._deadline = min(deadline, kernel.ends_at)
        self._looked = 0.0
        self._output = 0
        self._interrupted = False
        self.excess: Excess | None = None
        self.idle = False

    def read(self, socket: zmq.Socket[bytes], request: str) -> None:
        """Count the output of the kernel, and note when ``request`` is done."""
        for _ in range(1000):
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._output += sum(map(len, parts))
            done = b'"idle"' in parts[-1] and request.encode() in b"".join(parts[-3:-1])
            self.idle = self.idle or done
        limit = self._kernel.limits.output_mib * 2**20
        if self._output > limit:
            self.excess = self.excess or "output"
        if self._output > _MUCH_TOO_MUCH * limit:
            self._interrupt(time.monotonic())

    def check(self) -> None:
        """Interrupt a cell that exceeds a limit; end the kernel if it continues."""
        kernel, now = self._kernel, time.monotonic()
        if kernel.process.poll() is not None:
            raise KernelEnded("ended the kernel")
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            if kernel.memory_used() > kernel.limits.memory_mib * 2**20:
                self.end(f"took more than {kernel.limits.memory_mib} MiB of memory")
        if now > self._deadline:
            if self._interrupted:
                why = describe_excess(self.excess or "time", kernel.limits)
                self.end(f"{why} and did not let itself be interrupted")
            self.excess = "notebook" if now > kernel.ends_at else "time"
            self._interrupt(now)

    def end(self, why: str) -> None:
        """End the kernel. Raises ``KernelEnded``."""
        self._kernel.process.kill()
        self._kernel.process.wait()
        raise KernelEnded(why)

    def _interrupt(self, now: float) -> None:
        if not self._interrupted:
            self._interrupted = True
            self._deadline = now + _INTERRUPTED_SECONDS
            self._kernel.process.send_signal(signal.SIGINT)


def describe_excess(excess: Excess, limits: Limits) -> str:
    """Return which limit was exceeded, in words."""
    if excess == "time":
        return f"ran for more than {limits.cell_seconds:g} s"
    if excess == "notebook":
        return f"ran when the notebook had run for {limits.notebook_seconds:g} s"
    return f"printed more than {limits.output_mib} MiB"


def _stopped(excess: Excess, limits: Limits) -> str:
    # A cell that only printed too much may have ended by itself.
    return f"{describe_excess(excess, limits)}{'' if excess == 'output' else ' and was stopped'}"


@contextlib.contextmanager
def kernel(
    folder: Path, launch: Launch, python: str, limits: Limits, memory_used: Callable[[], int]
) -> Iterator[Kernel]:
    """Start a kernel with ``launch``, its sockets in ``folder``; end it afterwards.

    Raises ``GradingError`` if it does not start.
    """
    file = folder / "kernel.json"
    # Sockets by file name: two kernels cannot compete for a port.
    write_connection_file(
        str(file), transport="ipc", ip=str(folder / "k"), key=secrets.token_hex().encode()
    )
    file.chmod(0o644)  # only the kernel's account and ours can enter the folder
    process = launch([python, "-m", "course.grading.kernel", "-f", str(file)])
    client = BlockingKernelClient()
    client.load_connection_file(str(file))
    try:
        client.start_channels(shell=True, stdin=False, hb=False, control=False)  # noqa: S604
        yield Kernel(
            process, client, limits, memory_used, time.monotonic() + limits.notebook_seconds
        )
    finally:
        client.stop_channels()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(steps: Sequence[Step], started: Kernel) -> Outcome:
    """Run ``steps`` and return the outcome; a step that fails does not stop the others.

    Raises ``GradingError`` if the kernel does not become ready.
    """
    outcome = Outcome()
    texts = [step.text for step in steps if step.source is not None and step.source.restored]
    try:
        answer, _ = started.ask(
            "begin", modules=modules_used_by(texts), output_mib=started.limits.output_mib
        )
    except KernelEnded as end:
        raise GradingError(f"The kernel {end} before it began: try again.") from None
    if not answer["ok"]:
        raise GradingError(f"The kernel could not begin ({answer['error']}): try again.")
    for number, step in enumerate(steps):
        if time.monotonic() > started.ends_at:
            outcome.events.append(
                f"The notebook ran for more than {started.limits.notebook_seconds:g} s and was "
                f"stopped at {step.name}."
            )
            _leave_out(steps[number:], outcome, "the notebook had been stopped before it")
            break
        try:
            _run_one(step, started, outcome)
        except KernelEnded as end:
            outcome.events.append(f"{step.name} {end}: nothing after it could be run.")
            _leave_out(steps[number:], outcome, f"{step.name} {end}")
            break
    return outcome


def _leave_out(steps: Sequence[Step], outcome: Outcome, why: str) -> None:
    for step in steps:
        if step.is_test:
            outcome.verdicts[step.name] = Verdict(False, f"{NOT_RUN}: {why}")


def _run_one(step: Step, started: Kernel, outcome: Outcome) -> None:
    if step.is_test:
        outcome.verdicts[step.name] = _tested(step, started, outcome)
        return
    if step.source is not None and step.source.restored:
        _note_replaced(started.ask("guard")[0], outcome)
    answer, excess = started.execute(step.text)
    if excess is not None:
        outcome.failures[step.name] = _stopped(excess, started.limits)
        outcome.events.append(f"{step.name} {outcome.failures[step.name]}.")
    elif answer.get("status") != "ok":
        outcome.failures[step.name] = _short(answer)
    if step.bound_names:
        started.ask("keep", names=step.bound_names)


def _tested(step: Step, started: Kernel, outcome: Outcome) -> Verdict:
    _note_replaced(started.ask("guard")[0], outcome)
    # A test that cannot pass reveals a notebook that makes every test pass.
    first, second = secrets.randbelow(10**6), secrets.randbelow(10**6) + 10**6
    impossible, _ = started.ask("test", code=f"assert {first} == {second}")
    if impossible.get("ok") is not False:
        outcome.tampered = _TAMPERED
        return Verdict(False, _TAMPERED)
    answer, excess = started.ask("test", code=step.text)
    if excess in {"time", "notebook"}:
        return Verdict(False, f"it {_stopped(excess, started.limits)}")
    if answer.get("ok") is True:
        return Verdict(True)
    return Verdict(False, _why(answer))


def _note_replaced(answer: dict[str, Any], outcome: Outcome) -> None:
    replaced = [str(name) for name in answer.get("replaced", [])]
    if replaced:
        more = f" and {len(replaced) - 1} more" if replaced[1:] else ""
        event = f"The notebook replaced {replaced[0]}{more}, which was put back before the tests."
        if event not in outcome.events:
            outcome.events.append(event)


def _why(answer: dict[str, Any]) -> str:
    if answer.get("message"):
        return str(answer["message"])
    error = str(answer.get("error", "an error"))
    if answer.get("where"):
        return f"{error} was raised in {answer['where']}"
    return "what it asserts does not hold" if error == "AssertionError" else f"{error} was raised"


def _short(answer: dict[str, Any]) -> str:
    name, value = str(answer.get("ename", "an error")), str(answer.get("evalue", ""))
    line = value.strip().splitlines()[0] if value.strip() else ""
    return f"failed: {name}{': ' if line else ''}{line[:200]}"


def _asks_to_exit(answer: dict[str, Any]) -> bool:
    payload = answer.get("payload")
    return isinstance(payload, list) and any(
        isinstance(item, dict) and item.get("source") == "ask_exit" for item in payload
    )


def _reply(client: BlockingKernelClient, name: str) -> dict[str, Any] | None:
    """Return the content of the next message if it is the reply to the request ``name``."""
    try:
        message = client.shell_channel.get_msg(timeout=0)
    except Exception:  # noqa: BLE001 - not a message, or not signed with our key
        return None
    if message["parent_header"].get("msg_id") != name:
        return None
    content = message["content"]
    return content if isinstance(content, dict) else None
