"""End the servers whose data directory was deleted, moved or replaced.

``ServerWatch`` runs this file as a program, and writes one line of JSON per server to its input:
the arguments of ``_Server``. The program ends at the end of its input. It must work while the
whole project is being deleted, so it uses only the standard library, and imports it at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from pathlib import Path

_POLL_SECONDS = 0.5
# A frozen PostgreSQL kills its own processes five seconds after SIGQUIT.
_STOP_SECONDS = 3.0
_DISCARD_SECONDS = 6.0


class _Server:
    """A watched server, in the process that watches."""

    def __init__(
        self,
        pid: int,
        directory: str,
        identity: list[int],
        existing: list[str],
        later: list[str],
        stop: int,
        discard: int,
    ) -> None:
        self._pid = pid
        self._directory = directory
        self._identity = identity
        self._existing = existing
        self._later = later
        self._signals = [(stop, _STOP_SECONDS), (discard, _DISCARD_SECONDS)]
        self._is_ending = False
        self._next = 0.0

    def look(self) -> bool:
        """End the server if it has lost its directory; return whether it still runs."""
        if not self._is_ending and not self._is_intact():
            self._is_ending = True
            if self._is_deleted():
                del self._signals[0]
        if not self._is_ending:
            return True
        if not self._runs():
            return False
        if time.monotonic() >= self._next:
            sign, seconds = self._signals.pop(0) if self._signals else (signal.SIGKILL, 1.0)
            self._next = time.monotonic() + seconds
            with contextlib.suppress(OSError):
                os.kill(self._pid, sign)
                os.kill(self._pid, signal.SIGCONT)  # a frozen process handles no other signal
        return True

    def _is_intact(self) -> bool:
        try:
            found = Path(self._directory).stat()
            if [found.st_dev, found.st_ino] != self._identity:
                return False
            self._existing += filter(os.path.lexists, self._later)
            self._later = [path for path in self._later if path not in self._existing]
            return all(map(os.path.lexists, self._existing))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # the answer is not known

    def _is_deleted(self) -> bool:
        try:
            return str(Path(f"/proc/{self._pid}/cwd").readlink()).endswith(" (deleted)")
        except OSError:
            return not Path(self._directory).is_dir()

    def _runs(self) -> bool:
        """Return whether the process still is the server, which leads a session."""
        try:
            if os.getsid(self._pid) != self._pid:
                return False
            with Path(f"/proc/{self._pid}/stat").open("rb") as file:
                return file.read().rpartition(b")")[2].split()[0] != b"Z"
        except ProcessLookupError:
            return False
        except OSError:
            return True  # a system without /proc


def main() -> None:
    """Read servers from standard input, and end each that has lost its directory."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    servers = list[_Server]()
    text = b""
    while True:
        if select.select([0], [], [], _POLL_SECONDS)[0]:
            received = os.read(0, 65536)
            if not received:
                return
            *lines, text = (text + received).split(b"\n")
            servers += [_Server(*json.loads(line)) for line in lines]
        servers = [server for server in servers if server.look()]


if __name__ == "__main__":
    main()
