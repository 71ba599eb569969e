"""A set of servers to break: as the course's own, in a folder of its own, thrown away after use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from helpers.embedded.embedded_servers import EmbeddedServers
from helpers.embedded.temporary_folders import scratch_folder
from helpers.settings import load_settings


@contextlib.contextmanager
def start_temporary_servers() -> Iterator[EmbeddedServers]:
    """Yield servers that nobody else uses, not yet started; end them and delete their data after.

    Whoever stops or freezes one of these disturbs no other notebook, whichever servers the course
    uses. They are the embedded ones, with the PostgreSQL of ``PG_BINDIR`` where that is set. They
    are ended too, and their folder is deleted, when this process dies, whatever kills it.

    Raises ``ServerError`` where their folder cannot be made.
    """
    with scratch_folder("course-practice-") as folder:
        settings = replace(load_settings(), home=folder / "shop", addresses=None)
        servers = EmbeddedServers(settings)
        try:
            yield servers
        finally:
            servers.reset()
