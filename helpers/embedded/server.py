"""What all embedded servers have in common: prepare, start, stop, freeze; and their processes.

A server runs with its data directory as its working directory. The working directory, not a saved
process id, identifies a server's processes. So they are found after the process that started
them was killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from pwd import struct_passwd
from typing import Any, ClassVar, Literal

import psutil

from helpers.embedded.data_folder import DataFolder, SavedState, explaining_os_errors, is_free
from helpers.embedded.private_files import open_file
from helpers.embedded.server_processes import (
    OutlivingProcess,
    children,
    processes_in,
    send_signal,
    stop_processes,
)
from helpers.embedded.server_watch import ServerWatch
from helpers.errors import ServerError

#: ``frozen`` is a server whose processes exist but are suspended (SIGSTOP).
ServerState = Literal["running", "stopped", "frozen"]

_START_SECONDS = 60
_FREEZE_SECONDS = 10
_POLL_SECONDS = 0.02
_LITTLE_SPACE = 100  # MiB
_ERROR = re.compile(r"error|fatal|panic", re.IGNORECASE)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND

# Text in a server's log, and what it means.
_EXPLANATIONS = {
    # The system reports this as a full disk too.
    "could not create shared memory segment": "the system has no free segment of shared memory: "
    "restart the computer, or remove those that no process uses (`ipcs -m`, `ipcrm`)",
    "No space left on device": "the disk is full: free some space, or set SHOP_HOME to a folder on "
    "another disk",
    "Address already in use": "its port is in use by another program: stop that program",
    "are incompatible with server": "its data directory was made by another version: use that "
    "version, or start over with `python -m helpers reset` (this deletes its data)",
    "Permission denied": "a file may not be read or written by this user: change its permissions, "
    "or set SHOP_HOME to another folder",
    "could not map anonymous shared memory": "there is too little memory: close other programs",
}


class PortTakenError(ServerError):
    """Another program listens on the server's port."""


class Server:
    """One embedded server.

    ``name`` is unique in the data folder, ``directory`` is the server's data directory. All its
    processes have ``program`` in their command line; its main process also has ``main_mark``.
    """

    program: ClassVar[str]
    main_mark: ClassVar[str]
    #: A file or folder without which the data directory is of no use.
    essential: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    #: Ends the server at once, if its data will be deleted.
    discard_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, folder: DataFolder, saved: SavedState, name: str, directory: Path) -> None:
        self.folder = folder
        self.name = name
        self.directory = directory
        self.port = folder.port(saved, name)
        self.log = folder.log / f"{name}.log"
        #: What ends the server if its data directory is deleted or moved.
        self.watch: ServerWatch | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} on port {self.port}>"

    # What each kind of server implements.

    def is_prepared(self) -> bool:
        """Return whether the data directory exists.

        Raises ``ServerError`` if an essential file has been deleted from it.
        """
        if not self.directory.is_dir():
            return False
        if not (self.directory / self.essential).exists():
            raise ServerError(
                f"{self.directory} is damaged: {self.essential} was deleted from it. Put it back, "
                "or start over with `python -m helpers reset` (this deletes the data of all "
                "servers)."
            )
        return True

    def prepare(self) -> None:
        """Fill a new data directory under another name, then rename it to ``directory``.

        Raises ``ServerError`` if it cannot be filled; ``directory`` does not exist then.
        """
        raise NotImplementedError

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server's main process."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether this server answers: with its password, from its data directory."""
        raise NotImplementedError

    # What they share.

    def processes(self) -> list[psutil.Process]:
        """Return the server's live processes, oldest first."""
        return processes_in(self.directory, self.program)

    def main_process(self) -> psutil.Process | None:
        """Return the server's main process, or ``None`` if it is not running."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if self.main_mark in process.cmdline() or self.main_mark in process.cmdline()[0]:
                    return process
        return None

    def start(self) -> None:
        """Start the server unless it is running, and return when it answers.

        Raises ``ServerError`` if it cannot start; the message has the cause.
        """
        self.launch()
        if self._process is None:  # it runs already: it may be about to answer, or to end
            ended_or_answers = lambda: self.main_process() is None or self.answers()  # noqa: E731
            self._wait_until(None, ended_or_answers, "")
            self.launch()
        self._wait_until(self._process, self.answers, "stopped while starting", self._log_offset)

    def launch(self) -> None:
        """Start the server's process unless it exists; do not wait until the server answers.

        Raises ``PortTakenError`` if another program listens on its port.
        """
        if self.main_process() is not None:
            return
        stop_processes(self.processes(), signal.SIGKILL, seconds=5)  # left by a dead main process
        if not is_free(self.port):
            raise PortTakenError(
                f"{self.name} cannot start: its port {self.port} is in use by another program. "
                "Stop that program, or start over on new ports with `python -m helpers reset` "
                "(this deletes the data)."
            )
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        self._process = self.spawn()
        self.start_watch(self._process.pid)

    def start_watch(self, pid: int) -> None:
        """Watch the main process, so that it ends if its data directory is deleted or moved."""
        if self.watch is not None:
            essential = (self.directory / self.essential, self.folder.file)
            with contextlib.suppress(FileNotFoundError):  # deleted already: the start fails
                self.watch.add(
                    pid, self.directory, essential, self.stop_signal, self.discard_signal
                )

    def _wait_until(
        self,
        process: subprocess.Popen[bytes] | None,
        holds: Callable[[], bool],
        failure: str,
        log_offset: int = 0,
    ) -> None:
        """Wait until ``holds()``. Raises ``ServerError`` if ``process`` ends before."""
        deadline = time.monotonic() + _START_SECONDS
        while not holds():
            if process is not None and process.poll() is not None:
                self.fail(failure, log_offset)
            if time.monotonic() > deadline:
                self.fail(f"has not answered for {_START_SECONDS} s", 0)
            time.sleep(_POLL_SECONDS)

    def stop(self, *, seconds: float = 15) -> None:
        """Stop the server, by SIGKILL if it has not ended after ``seconds``."""
        self._end(self.stop_signal, seconds)

    def discard(self, *, seconds: float = 15) -> None:
        """Stop the server at once; its data will be deleted."""
        self._end(self.discard_signal, seconds)

    def _end(self, sign: signal.Signals, seconds: float) -> None:
        self.thaw()  # a suspended process does not handle signals
        main = self.main_process()
        if main is not None:
            stop_processes([main], sign, seconds=seconds)
        stop_processes(self.processes(), signal.SIGKILL, seconds=seconds)
        if self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        """Kill all processes of the server (SIGKILL), as a crash does; return when they ended."""
        stop_processes(self.processes(), signal.SIGKILL, seconds=10)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """Suspend the server (SIGSTOP): it keeps its port and connections, but does not respond.

        A stopped server stays stopped. Raises ``ServerError`` if it cannot be suspended.
        """
        deadline = time.monotonic() + _FREEZE_SECONDS
        # Oldest first, and repeatedly: the main process may have started others meanwhile.
        while running := [process for process in self.processes() if not _is_suspended(process)]:
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} has not stopped for {_FREEZE_SECONDS} s (SIGSTOP): its disk may "
                    "be busy. Try again."
                )
            send_signal(running, signal.SIGSTOP)
            time.sleep(_POLL_SECONDS)

    def thaw(self) -> None:
        """Resume a frozen server (SIGCONT). Other servers are not changed."""
        send_signal(filter(_is_suspended, self.processes()), signal.SIGCONT)

    def state(self) -> ServerState:
        """Return whether the server's processes run. A server that is starting is ``running``."""
        main = self.main_process()
        if main is None:
            return "stopped"
        return "frozen" if _is_suspended(main) else "running"

    def fail(self, what: str, offset: int) -> None:
        """Raise a ``ServerError`` that explains ``what`` by the log from byte ``offset`` on."""
        try:
            with self.log.open("rb") as file:
                file.seek(offset)
                text = file.read().decode("utf-8", "replace")
        except OSError:
            text = ""
        for sign, meaning in _EXPLANATIONS.items():
            if sign in text:
                raise ServerError(f"{self.name} {what}: {meaning}. Its log is {self.log}.")
        free = shutil.disk_usage(self.folder.path).free // 2**20
        if free < _LITTLE_SPACE:  # then the log itself may be incomplete
            raise ServerError(
                f"{self.name} {what}, and only {free} MiB are free on its disk: free some space, "
                f"or set SHOP_HOME to a folder on another disk. Its log is {self.log}."
            )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = next((line for line in reversed(lines) if _ERROR.search(line)), (lines or [""])[-1])
        quoted = f" ({last[:200]})" if last else ""
        raise ServerError(
            f"{self.name} {what}{quoted}. Its log is {self.log}; run `python -m helpers down` and "
            "then `python -m helpers up`."
        )


def _is_suspended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def spawn_process(
    command: Sequence[str | Path],
    *,
    directory: Path,
    log: Path,
    account: struct_passwd | None = None,
    environ: Mapping[str, str] | None = None,
    stdin: str | None = None,
    close_stdin: bool = True,
    watch: ServerWatch | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a new session, in ``directory``, with its output appended to ``log``.

    ``account`` is the system user to run as, ``environ`` is added to the environment. ``stdin`` is
    the process's input, which keeps secrets off its command line. With ``close_stdin=False`` the
    caller can write more to its input, and must close it. ``watch`` lasts as long as the process.
    """
    with (
        explaining_os_errors(log),
        os.fdopen(open_file(log, _APPEND), "ab") as output,
        input_pipe(stdin, close=close_stdin) as source,
    ):
        process = OutlivingProcess(
            [str(part) for part in command],
            cwd=directory,
            env=_environment(environ or {}),
            stdin=source,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=() if watch is None else (watch.descriptor,),
            **({} if account is None else _as_account(account)),
        )
    children.append(process)
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin.encode())
        process.stdin.flush()
    return process


@contextlib.contextmanager
def input_pipe(text: str | None, *, close: bool) -> Iterator[int]:
    """Yield the input of a process: none, a pipe that holds ``text``, or one to write to.

    The pipe is filled before the process starts, so it holds all of ``text`` even if this process
    is killed meanwhile. A server that reads half of its settings would use defaults for the rest.
    """
    if text is None or not close:
        yield subprocess.DEVNULL if text is None else subprocess.PIPE
        return
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(text.encode())  # a few hundred bytes, which fit into a pipe's buffer
        yield reader
    finally:
        os.close(reader)


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    # PG… variables are the user's settings for clients of other servers.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return {**inherited, **added}


def _as_account(account: struct_passwd) -> dict[str, Any]:
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
