"""A lock file that lets only one process at a time inject faults into a set of servers."""

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
def hold_fault_lock(file: Path, *, wait_seconds: float = 0.0) -> Iterator[int]:
    """Lock ``file``, creating it if necessary, and yield its descriptor.

    The lock lasts until every process that has the descriptor has closed it or died. Pass the
    descriptor to a child process (``pass_fds``) that must hold the lock after this one.

    Raises ``FaultError`` if another process still holds the lock after ``wait_seconds``, and
    ``ServerError`` if the file cannot be created.
    """
    deadline = time.monotonic() + wait_seconds
    while (descriptor := _try_lock(file)) is None:
        if time.monotonic() >= deadline:
            raise FaultError(
                f"Faults are being injected into these servers already, by {_holder(file)}, and "
                "the two would disturb each other: end that process (in a notebook: restart its "
                "kernel), or try again later."
            )
        time.sleep(_POLL_SECONDS)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        yield descriptor
    finally:
        os.ftruncate(descriptor, 0)
        # Close, do not unlock: unlocking would also unlock it for the child processes.
        os.close(descriptor)


def _try_lock(file: Path) -> int | None:
    """Return the descriptor of the locked file; ``None`` if another process holds the lock."""
    with explaining_os_errors(file.parent):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):  # deleted with its folder in the meantime
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
