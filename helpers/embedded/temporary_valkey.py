"""A temporary key-value server that can be limited in memory, killed and started again.

Experiments use it because the shared server holds the keys of every lesson: a memory limit there
would evict all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from helpers.embedded.data_folder import (
    TEMPORARY,
    DataFolder,
    SavedState,
    explaining_os_errors,
)
from helpers.embedded.mongo_valkey_servers import ValkeyServer
from helpers.embedded.server import PortTakenError
from helpers.embedded.temporary_servers import temporary_folder
from helpers.errors import ServerError

#: Which keys Valkey evicts if its memory is full (``maxmemory-policy``).
Policy = Literal[
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
]


_PORT_ATTEMPTS = 5


class TemporaryValkey(ValkeyServer):
    """A key-value server in a temporary folder; ``temporary_valkey`` creates and removes it."""

    def __init__(self, folder: Path, *, password: bool, settings: Mapping[str, object]) -> None:
        super().__init__(DataFolder(folder), SavedState(), durable=False, name=TEMPORARY)
        if not password:
            self._password = ""
        self._changed = settings

    @property
    def url(self) -> str:
        """The server's address, with the password if it has one; database 0."""
        return super().url if self._password else f"redis://127.0.0.1:{self.port}/0"

    def settings(self) -> dict[str, object]:
        return super().settings() | {"requirepass": self._password or '""'} | dict(self._changed)

    def launch(self) -> None:
        """Start the server on the same directory and port as before, unless it is running.

        Settings that ``CONFIG SET`` changed are lost.
        """
        try:
            super().launch()
        except PortTakenError:
            raise PortTakenError(
                f"The temporary key-value server cannot start: its port {self.port} was taken by "
                "another program. Create a new one, which chooses another port."
            ) from None

    def fail(self, what: str, offset: int) -> None:
        # The log is deleted with the server, so the message quotes it.
        try:
            text = self.log.read_bytes()[offset:].decode("utf-8", "replace")
        except OSError:
            text = ""
        quoted = " / ".join(line.strip() for line in text.splitlines() if line.strip())
        kind = PortTakenError if "Address already in use" in text else ServerError
        raise kind(
            f"The temporary key-value server {what}; its log: {quoted[-500:] or 'empty'}. Correct "
            "its settings, or check that the disk is not full, and create a new one."
        )


@contextlib.contextmanager
def temporary_valkey(
    *,
    password: bool = True,
    append_only: bool = True,
    maxmemory: int | None = None,
    policy: Policy = "noeviction",
    settings: Mapping[str, str | int] | None = None,
) -> Iterator[TemporaryValkey]:
    """Yield a running key-value server that no other program uses; remove it at the end.

    It listens on a free port of the loopback address. With ``append_only``, acknowledged writes
    survive ``kill()``; without it, no data does. ``maxmemory`` is in bytes (``None``: no limit),
    ``policy`` decides which keys are evicted at that limit, ``settings`` are more lines of the
    configuration.

    The server is also removed if the block raises, or if this process dies. Raises ``ServerError``
    if it cannot be started.
    """
    changed: dict[str, object] = {
        "appendonly": "yes" if append_only else "no",
        "maxmemory": maxmemory or 0,
        "maxmemory-policy": policy,
        **(settings or {}),
    }
    with temporary_folder("course-temporary-") as folder:
        server = _start(folder, password=password, settings=changed)
        try:
            yield server
        finally:
            server.kill()


def _start(folder: Path, *, password: bool, settings: Mapping[str, object]) -> TemporaryValkey:
    """Return a running server; choose another port if the first is taken meanwhile."""
    for attempt in range(_PORT_ATTEMPTS):
        place = folder if attempt == 0 else folder / f"attempt-{attempt + 1}"
        server = TemporaryValkey(place, password=password, settings=settings)
        with explaining_os_errors(place):
            server.folder.log.mkdir(parents=True)
        server.prepare()
        try:
            server.start()
        except PortTakenError:
            if attempt == _PORT_ATTEMPTS - 1:
                raise
        except BaseException:
            server.kill()
            raise
        else:
            return server
    raise AssertionError("the last attempt returns or raises")
