"""Folders for servers that are thrown away: cleared after use, whatever ends the process."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.embedded.data_folder import explaining_os_errors
from helpers.embedded.server_processes import start_watcher


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder for servers; delete it after.

    If this process dies meanwhile, whatever kills it, another one ends the servers that work in the
    folder and deletes it (``server_cleanup``). Raises ``ServerError`` where it cannot be made.
    """
    with explaining_os_errors(Path(tempfile.gettempdir())):
        # Its watcher may delete a folder first; then there is nothing left to complain about.
        made = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    with made as name:
        # A process's working directory is told without symbolic links.
        folder = Path(name).resolve()
        with _watched(folder):
            yield folder


@contextlib.contextmanager
def _watched(folder: Path) -> Iterator[None]:
    """Have a process end the servers and delete ``folder`` if this process dies meanwhile.

    The system closes the pipe to the watcher however we end, which is its sign. (Linux could signal
    the server itself, but when the thread that started it ends, and other systems cannot.)
    """
    watcher = start_watcher("helpers.embedded.server_cleanup", str(folder))
    try:
        yield
    finally:
        watcher.kill()
        watcher.wait()
        if watcher.stdin is not None:
            watcher.stdin.close()
