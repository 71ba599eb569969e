"""Find, signal and end processes by the folder that they work in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

_POLL_SECONDS = 0.02
# A frozen PostgreSQL kills its own processes five seconds after SIGQUIT.
_QUIT_SECONDS = 6.0


class OutlivingProcess(subprocess.Popen[bytes]):
    """A process that may outlive this one."""

    def __del__(self) -> None:
        """Suppress Popen's warning that the process is still running."""


#: The servers, and the processes that watch them, that this process has started.
#: Those that have ended are removed.
children: list[subprocess.Popen[bytes]] = []


def processes_in(directory: Path, program: str) -> list[psutil.Process]:
    """Return the live processes of ``program`` whose working directory is ``directory``.

    They are sorted by age, oldest first. ``program`` must be part of a process's name or command
    line, so that a shell in the directory is not returned. Processes in an earlier directory of
    this name, which was deleted, are not returned either.
    """
    _reap()
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.cwd() == str(directory)
                and runs(process, program)
                and not has_lost_directory(process)
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def runs(process: psutil.Process, *programs: str) -> bool:
    """Return whether one of ``programs`` is in a process's name or command line."""
    line = " ".join([process.name(), *process.cmdline()])
    return any(program in line for program in programs)


def has_lost_directory(process: psutil.Process) -> bool:
    """Return whether a process's working directory was deleted.

    Another directory may have its name now. psutil returns the name in either case.
    """
    try:
        directory = Path(process.cwd()).stat()
    except FileNotFoundError:
        return True
    try:
        return not os.path.samestat(Path(f"/proc/{process.pid}/cwd").stat(), directory)
    except OSError:
        return False  # a system without /proc, or the process has ended


def processes_below(folder: Path) -> list[psutil.Process]:
    """Return the live processes whose working directory is ``folder`` or below it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder) and is_alive(process):
                found.append(process)
    return found


def stop_processes(
    processes: Sequence[psutil.Process], sign: signal.Signals, *, seconds: float
) -> None:
    """Send ``processes`` a signal, and kill those that have not ended after ``seconds``."""
    send_signal(processes, sign)
    alive = _wait_for_end(processes, seconds)
    send_signal(alive, signal.SIGKILL)
    _wait_for_end(alive, seconds=10)
    ended = {process.pid for process in processes}
    for child in [*children]:
        if child.pid in ended:
            # The child can be reaped only a moment after it has ended.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(1)
    _reap()


def discard_processes(processes: Sequence[psutil.Process]) -> None:
    """Kill processes whose files will be deleted, or are deleted already.

    PostgreSQL is sent SIGQUIT first: on SIGKILL it would leave its shared memory behind.
    """
    nodes = [process for process in processes if _name(process) == "postgres"]
    send_signal([process for process in processes if process not in nodes], signal.SIGKILL)
    send_signal(nodes, signal.SIGQUIT)
    stop_processes(processes, signal.SIGCONT, seconds=_QUIT_SECONDS)  # they may be frozen


def send_signal(processes: Iterable[psutil.Process], sign: signal.Signals) -> None:
    """Send ``processes`` a signal; skip those that have ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(sign)


def _reap() -> None:
    """Reap the children that have ended, so that they are not zombies."""
    for child in [*children]:
        if child.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread has removed it
                children.remove(child)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _wait_for_end(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the ``processes`` that have not ended after ``seconds``.

    A zombie counts as ended: ``psutil.wait_procs`` would wait until its parent reaps it.
    """
    deadline = time.monotonic() + seconds
    while True:
        alive = [process for process in processes if is_alive(process)]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(_POLL_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
