"""A temporary set of servers, in a temporary folder, that tests and lessons may stop and kill."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from helpers.embedded.cleanup_process import start_cleanup_process
from helpers.embedded.data_folder import explaining_os_errors
from helpers.embedded.embedded_servers import EmbeddedServers
from helpers.settings import load_settings


@contextlib.contextmanager
def start_temporary_servers() -> Iterator[EmbeddedServers]:
    """Yield a set of servers, not yet started; stop them and delete their data at the end.

    They are always embedded servers, with the PostgreSQL of ``PG_BINDIR`` if that is set. No other
    program uses them, so they can be stopped and frozen. If this process dies, they are stopped and
    their folder is deleted too.

    Raises ``ServerError`` if the folder cannot be created.
    """
    with temporary_folder("course-temporary-") as folder:
        settings = replace(load_settings(), data_folder=folder / "shop", addresses=None)
        servers = EmbeddedServers(settings)
        try:
            yield servers
        finally:
            servers.reset()


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder for servers, and delete it at the end.

    If this process dies meanwhile, a cleanup process stops the servers in the folder and deletes
    it. Raises ``ServerError`` if the folder cannot be created.
    """
    with explaining_os_errors(Path(tempfile.gettempdir())):
        # The cleanup process may delete the folder first.
        created = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    with created as name:
        # Systems report a process's working directory without symbolic links.
        folder = Path(name).resolve()
        cleanup = start_cleanup_process("helpers.embedded.cleanup_process", str(folder))
        try:
            yield folder
        finally:
            cleanup.kill()
            cleanup.wait()
            if cleanup.stdin is not None:
                cleanup.stdin.close()
