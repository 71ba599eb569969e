"""A key-value server to be used up: limited in memory, killed, started again, thrown away.

What would disturb others is tried on it: the shared server holds the keys of every lesson, and a
memory limit there would evict them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from helpers.embedded.data_folder import SPARE, Home, Memory, explaining_os_errors, is_free
from helpers.embedded.temporary_folders import scratch_folder
from helpers.embedded.valkey_server import ValkeyServer
from helpers.errors import ServerError

#: Which key gives way when the memory is full.
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


class TemporaryValkey(ValkeyServer):
    """A server in a folder of its own; ``temporary_valkey`` makes it and clears it away."""

    def __init__(self, folder: Path, *, password: bool, settings: Mapping[str, object]) -> None:
        super().__init__(Home(folder), Memory(), durable=False, name=SPARE)
        if not password:
            self._password = ""
        self._changed = settings

    @property
    def url(self) -> str:
        """The server's address, with the password where it has one; database 0."""
        return super().url if self._password else f"redis://127.0.0.1:{self.port}/0"

    def settings(self) -> dict[str, object]:
        return super().settings() | {"requirepass": self._password or '""'} | dict(self._changed)

    def start(self) -> None:
        """Start the server, on the same directory and port as before; return when it answers.

        What ``CONFIG SET`` changed is forgotten. Where the server runs already, nothing happens.
        Raises ``ServerError`` when it cannot start: the message says why.
        """
        self.launch()
        self.wait()

    def launch(self) -> None:
        if self.main_process() is None and not is_free(self.port):
            raise ServerError(
                f"The spare key-value server cannot start: its port {self.port} was taken by "
                "another program. Make a new one, which chooses another port."
            )
        super().launch()

    def fail(self, what: str, offset: int) -> None:
        # The log is deleted with the server, so it is quoted here instead of being named.
        try:
            text = self.log.read_bytes()[offset:].decode("utf-8", "replace")
        except OSError:
            text = ""
        said = " / ".join(line.strip() for line in text.splitlines() if line.strip())
        raise ServerError(
            f"The spare key-value server {what}; its log says: {said[-500:] or 'nothing'}. Correct "
            "what it was given, or see that the disk is not full, and make a new one."
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
    """Yield a running key-value server that nobody else uses; end it and delete its data after.

    It listens on a free port of the loopback address. With ``append_only``, acknowledged writes
    survive ``kill()``, without it nothing does. ``maxmemory`` is in bytes (``None``: no limit),
    ``policy`` decides what is evicted there, ``settings`` are further lines of its configuration.

    It is ended when the body raises, and soon after the death of this process too, whatever killed
    it. Raises ``ServerError`` when it cannot be started.
    """
    changed: dict[str, object] = {
        "appendonly": "yes" if append_only else "no",
        "maxmemory": maxmemory or 0,
        "maxmemory-policy": policy,
        **(settings or {}),
    }
    with scratch_folder("course-spare-") as folder:
        server = TemporaryValkey(folder, password=password, settings=changed)
        with explaining_os_errors(folder):
            server.home.log.mkdir()
        server.prepare()
        try:
            server.start()
            yield server
        finally:
            server.kill()
