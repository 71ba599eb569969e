"""What the three kinds of embedded server have in common: prepare, launch, wait, stop."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import psutil

from helpers.embedded import server_processes
from helpers.embedded.data_folder import Home, Memory, is_free
from helpers.errors import ServerError

#: ``frozen`` is a server whose processes are there and do nothing (SIGSTOP).
ServerState = Literal["running", "stopped", "frozen"]

_START_SECONDS = 60
_FREEZE_SECONDS = 10
_POLL_SECONDS = 0.02
_LITTLE_SPACE = 100  # MiB

# What a server's log says, and what it means to the reader.
_EXPLANATIONS = {
    "No space left on device": "the disk is full: free some space, or set SHOP_HOME to a folder on "
    "another disk",
    "Address already in use": "its port is in use by another program: stop that program",
    "are incompatible with server": "its data directory was made by another version: use that "
    "version, or start over with `python -m helpers reset` (this deletes its data)",
    "Permission denied": "a file may not be read or written by this user: change its permissions, "
    "or set SHOP_HOME to another folder",
    "could not map anonymous shared memory": "there is too little memory: close other programs",
}


class Server:
    """One embedded server.

    ``name`` is unique in the home, ``directory`` its data directory. All its processes have
    ``program`` in their command line, the one that the others depend on ``main_mark``.
    """

    program: ClassVar[str]
    main_mark: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    #: Ends the server where its data are deleted next: at once, without putting them in order.
    discard_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, home: Home, memory: Memory, name: str, directory: Path) -> None:
        self.home = home
        self.name = name
        self.directory = directory
        self.port = home.port(memory, name)
        self.log = home.log / f"{name}.log"
        self._launched: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} on port {self.port}>"

    # What each kind of server says for itself.

    def is_prepared(self) -> bool:
        """Tell whether the data directory is complete."""
        return self.directory.is_dir()

    def prepare(self) -> None:
        """Fill a new data directory beside the final place, then move it there in one step.

        Raises ``ServerError`` when it cannot be filled; the final place is empty then.
        """
        raise NotImplementedError

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server's process."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Tell whether this very server answers: with our password, from our directory."""
        raise NotImplementedError

    # What follows from that for all of them.

    def processes(self) -> list[psutil.Process]:
        """Return the server's live processes, oldest first."""
        return server_processes.find(self.directory, self.program)

    def main_process(self) -> psutil.Process | None:
        """Return the process that the server's others depend on, if it is alive."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if self.main_mark in process.cmdline() or self.main_mark in process.cmdline()[0]:
                    return process
        return None

    def launch(self) -> None:
        """Start the server unless a process of it is there already.

        Raises ``ServerError`` when another program listens on its port.
        """
        if self.main_process() is not None:
            return
        server_processes.stop(self.processes(), signal.SIGKILL, seconds=5)  # what it left behind
        if not is_free(self.port):
            raise ServerError(
                f"{self.name} cannot start: its port {self.port} is in use by another program. "
                "Stop that program, or start over on new ports with `python -m helpers reset` "
                "(this deletes the data)."
            )
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        self._launched = self.spawn()

    def wait(self) -> None:
        """Wait until the server answers. Raises ``ServerError`` with the cause if it does not."""
        self._wait_for(self._launched, self.answers, "stopped while starting", self._log_offset)

    def _wait_for(
        self,
        process: subprocess.Popen[bytes] | None,
        holds: Callable[[], bool],
        failure: str,
        log_offset: int = 0,
    ) -> None:
        """Wait until ``holds()``. Raises ``ServerError`` when ``process`` ends before."""
        deadline = time.monotonic() + _START_SECONDS
        while not holds():
            if process is not None and process.poll() is not None:
                self.fail(failure, log_offset)
            if time.monotonic() > deadline:
                self.fail(f"has not answered for {_START_SECONDS} s", 0)
            time.sleep(_POLL_SECONDS)

    def stop(self, *, seconds: float = 15) -> None:
        """Stop the server, by force if it has not ended after ``seconds``."""
        self._end(self.stop_signal, seconds)

    def discard(self, *, seconds: float = 15) -> None:
        """Stop the server at once. Its data are of no further use."""
        self._end(self.discard_signal, seconds)

    def _end(self, sign: signal.Signals, seconds: float) -> None:
        self.thaw()  # else it would not hear of it
        main = self.main_process()
        if main is not None:
            server_processes.stop([main], sign, seconds=seconds)
        server_processes.stop(self.processes(), signal.SIGKILL, seconds=seconds)
        if self._launched is not None:
            self._launched.wait()

    def kill(self) -> None:
        """End the server as a crash does (SIGKILL); return when it is gone."""
        server_processes.stop(self.processes(), signal.SIGKILL, seconds=10)
        if self._launched is not None:
            self._launched.wait()

    def freeze(self) -> None:
        """Let the server hang (SIGSTOP): it keeps its port and its connections, and says nothing.

        Where it does not run, nothing happens. Raises ``ServerError`` when it cannot be frozen.
        """
        deadline = time.monotonic() + _FREEZE_SECONDS
        # Oldest first, and again: the first one may have started others meanwhile.
        while awake := [one for one in self.processes() if not _is_stopped(one)]:
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} has not stopped for {_FREEZE_SECONDS} s (SIGSTOP): its disk may "
                    "be busy. Try again."
                )
            server_processes.send(awake, signal.SIGSTOP)
            time.sleep(_POLL_SECONDS)

    def thaw(self) -> None:
        """Let the server go on (SIGCONT). Where it is not frozen, nothing happens."""
        server_processes.send([one for one in self.processes() if _is_stopped(one)], signal.SIGCONT)

    def state(self) -> ServerState:
        """Tell whether the server's processes run. One that is still starting counts as running."""
        main = self.main_process()
        if main is None:
            return "stopped"
        return "frozen" if _is_stopped(main) else "running"

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
        free = shutil.disk_usage(self.home.path).free // 2**20
        if free < _LITTLE_SPACE:  # the log itself may not have been written
            raise ServerError(
                f"{self.name} {what}, and only {free} MiB are free on its disk: free some space, "
                f"or set SHOP_HOME to a folder on another disk. Its log is {self.log}."
            )
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
        said = f" ({last[:200]})" if last else ""
        raise ServerError(
            f"{self.name} {what}{said}. Its log is {self.log}; `python -m helpers down` and then "
            "`up` start it afresh."
        )


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
