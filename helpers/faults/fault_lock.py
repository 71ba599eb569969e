"""A lock file that lets only one process at a time inject faults into a set of servers."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from helpers.embedded.data_folder import explaining_os_errors
from helpers.embedded.private_files import locked_file
from helpers.errors import FaultError


@contextlib.contextmanager
def hold_fault_lock(file: Path, *, wait_seconds: float = 0.0) -> Iterator[int]:
    """Lock ``file``, creating it if necessary, and yield its descriptor.

    The lock lasts until every process that has the descriptor has closed it or died. Pass the
    descriptor to a child process (``pass_fds``) that must hold the lock after this one.

    Raises ``FaultError`` if another process still holds the lock after ``wait_seconds``, and
    ``ServerError`` if the file cannot be created.
    """
    with contextlib.ExitStack() as lock:
        try:
            with explaining_os_errors(file.parent):
                descriptor = lock.enter_context(locked_file(file, wait_seconds=wait_seconds))
        except TimeoutError:
            raise FaultError(
                f"Faults are being injected into these servers already, by {_holder(file)}, and "
                "the two would disturb each other: end that process (in a notebook: restart its "
                "kernel), or try again later."
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
            yield descriptor
        finally:
            os.ftruncate(descriptor, 0)


def _holder(file: Path) -> str:
    try:
        return f"process {int(json.loads(file.read_text('utf-8'))['pid'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
