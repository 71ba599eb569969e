"""Processes of the embedded servers: started apart from us, found again by where they work.

A server runs with its data directory as its working directory. That, and not a remembered process
id, tells which process serves a directory: it stays true when whoever started it was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pwd import struct_passwd
from typing import Any

import psutil

from helpers.embedded.data_folder import explaining_os_errors
from helpers.settings import PROJECT


def find(directory: Path, program: str) -> list[psutil.Process]:
    """Return the live processes of ``program`` that work in ``directory``, oldest first.

    ``program`` is looked for in a process's name and command line, so that a shell that someone
    left in the directory is not taken for a server.
    """
    _fetch_ended()
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(directory) and program in " ".join(
                [process.name(), *process.cmdline()]
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or somebody else's
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def below(folder: Path) -> list[psutil.Process]:
    """Return the live processes, of whatever program, that work in ``folder`` or below it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder) and _is_alive(process):
                found.append(process)
    return found


def launch(
    command: Sequence[str | Path],
    *,
    directory: Path,
    log: Path,
    account: struct_passwd | None = None,
    environ: Mapping[str, str] | None = None,
    stdin: str | None = None,
    close_stdin: bool = True,
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a session of its own, working in ``directory``, writing to ``log``.

    ``account`` is the system user to run as, ``environ`` is added to the environment, ``stdin``
    is what the process reads (this keeps secrets off its command line). With ``close_stdin`` off,
    more can be written to its input, which is then left to the caller to close.
    """
    with (
        explaining_os_errors(log),
        os.fdopen(os.open(log, _APPEND, 0o600), "ab") as output,
        _input(stdin, close=close_stdin) as source,
    ):
        process = _Outliving(
            [str(part) for part in command],
            cwd=directory,
            env=_environment(environ or {}),
            stdin=source,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **({} if account is None else _as_account(account)),
        )
    _children.append(process)
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin.encode())
        process.stdin.flush()
    return process


@contextlib.contextmanager
def _input(text: str | None, *, close: bool) -> Iterator[int]:
    """Yield what a process is to read: nothing, a pipe that holds ``text``, or one to write to.

    A pipe that was filled before holds all of ``text`` even if we are killed meanwhile. A server
    that read the half of its settings would start with the defaults for the others.
    """
    if text is None or not close:
        yield subprocess.DEVNULL if text is None else subprocess.PIPE
        return
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(text.encode())  # a few hundred bytes, for which every pipe has room
        yield reader
    finally:
        os.close(reader)


def start_watcher(
    module: str, *arguments: str, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process that calls ``main`` of ``module`` once this process has ended.

    ``main`` is called with all that was written to the watcher's input, then ``arguments``. Only
    this process holds the other end of the input: it ends when this process does, whatever ends it.

    Until then the watcher has imported nothing, so that it costs almost no time and memory.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _WATCH.format(module=module), *arguments],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
        start_new_session=True,  # an interrupt meant for us is none for it
    )


def stop(processes: Sequence[psutil.Process], sign: signal.Signals, *, seconds: float) -> None:
    """Send ``processes`` the signal ``sign``, and kill those still there after ``seconds``."""
    send(processes, sign)
    alive = _wait(processes, seconds)
    send(alive, signal.SIGKILL)
    _wait(alive, seconds=10)
    ended = {process.pid for process in processes}
    for child in [*_children]:
        if child.pid in ended:
            # Its threads may end a moment after it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(1)
    _fetch_ended()


def send(processes: Sequence[psutil.Process], sign: signal.Signals) -> None:
    """Send ``processes`` the signal ``sign``; those that have ended meanwhile get none."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(sign)


_WATCH = (
    "import sys; said = sys.stdin.buffer.read(); "
    "from {module} import main; main(said, *sys.argv[1:])"
)

_POLL_SECONDS = 0.02
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class _Outliving(subprocess.Popen[bytes]):
    """A process that may outlive this one."""

    def __del__(self) -> None:
        """Leave it running. Python would warn of that when this process ends."""


# Servers started by this process.
_children: list[subprocess.Popen[bytes]] = []


def _fetch_ended() -> None:
    """Fetch those that have ended, so that they are gone and no zombies."""
    for child in [*_children]:
        if child.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread has fetched it
                _children.remove(child)


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    # What the user set for clients of other servers must not steer ours.
    mine = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return {**mine, **added}


def _as_account(account: struct_passwd) -> dict[str, Any]:
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _wait(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return those of ``processes`` that have not ended after ``seconds``.

    One that has ended and was not fetched yet by whoever started it (a zombie) counts as ended:
    ``psutil.wait_procs`` would wait for that too, and it may take seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        alive = [process for process in processes if _is_alive(process)]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(_POLL_SECONDS)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
