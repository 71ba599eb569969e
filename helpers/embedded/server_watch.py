"""A process that ends servers whose data directory was deleted, moved or replaced.

Such a server cannot be found by its data folder any more, and would run forever.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.embedded.server_processes import OutlivingProcess, children

_PROGRAM = Path(__file__).with_name("watch_program.py")


class ServerWatch:
    """The process that watches the servers of one start, and ends with the last of them.

    The servers inherit the write end of its input (``descriptor``), so the system closes that then.
    """

    def __init__(self) -> None:
        reader, self.descriptor = os.pipe()
        self._lock = threading.Lock()
        try:
            process = OutlivingProcess(
                [sys.executable, "-IS", str(_PROGRAM)],
                cwd="/",
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            os.close(self.descriptor)
            raise
        finally:
            os.close(reader)
        children.append(process)

    def add(
        self, pid: int, directory: Path, essential: Sequence[Path], stop: int, discard: int
    ) -> None:
        """Watch a server: its main process and its directory. Thread-safe.

        Without the ``essential`` files the server is of no use; it may still have to create them.
        The signal ``stop`` ends it if its directory was moved, ``discard`` if it was deleted.

        Raises ``FileNotFoundError`` if the directory has been deleted already.
        """
        found = directory.stat()
        identity = [found.st_dev, found.st_ino]
        existing = [str(path) for path in essential if os.path.lexists(path)]
        later = [str(path) for path in essential if str(path) not in existing]
        message = [pid, str(directory), identity, existing, later, stop, discard]
        with self._lock, contextlib.suppress(BrokenPipeError):
            os.write(self.descriptor, json.dumps(message).encode() + b"\n")


@contextlib.contextmanager
def watching() -> Iterator[ServerWatch]:
    """Yield a ``ServerWatch``. Its process then lasts as long as the servers that were added."""
    watch = ServerWatch()
    try:
        yield watch
    finally:
        os.close(watch.descriptor)
