"""One drill at a time: whoever else has begun one is named."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.embedded.data_folder import explaining_os_errors
from helpers.errors import FaultError

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def only_one(file: Path, *, wait_seconds: float = 0.0) -> Iterator[int]:
    """Hold the lock on ``file``, which is made where it is not there; yield its descriptor.

    The lock lasts until every process that has the descriptor has closed it, or died: who must go
    on holding it after us is given it (``pass_fds``).

    Raises ``FaultError`` where another one holds it for ``wait_seconds``, and ``ServerError`` where
    the file cannot be made.
    """
    deadline = time.monotonic() + wait_seconds
    while (descriptor := _taken(file)) is None:
        if time.monotonic() >= deadline:
            raise FaultError(
                f"A drill is on already, by {_holder(file)}, and two would disturb each other: "
                "end that one (in a notebook: restart its kernel), or wait for it and try again."
            )
        time.sleep(_POLL_SECONDS)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        yield descriptor
    finally:
        os.ftruncate(descriptor, 0)
        # Closed, not unlocked: unlocking would unlock for all who have the descriptor.
        os.close(descriptor)


def _taken(file: Path) -> int | None:
    """Return the descriptor of the file, locked; ``None`` where another one holds the lock."""
    with explaining_os_errors(file.parent):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):  # deleted between the two, with its folder
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _holder(file: Path) -> str:
    try:
        return f"process {int(json.loads(file.read_text('utf-8'))['pid'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
