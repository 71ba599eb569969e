"""However a drill ends, its servers come back."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

from helpers.embedded.cleanup_process import start_cleanup_process
from helpers.faults.server_control import ControlledServers, bring_back

# As long as a server may take to start, and some more.
_RESTORE_SECONDS = 180.0


@contextlib.contextmanager
def guarded(servers: ControlledServers, lock: int) -> Iterator[None]:
    """Bring ``servers`` back at the end, and have a guard do it if we die, or fail.

    The guard holds ``lock``, a descriptor, until it has done so: no other drill begins before.

    Raises ``CourseError`` when a server does not come back.
    """
    guard = start_cleanup_process("helpers.faults.fault_cleanup", pass_fds=[lock])
    assert guard.stdin is not None
    try:
        guard.stdin.write(json.dumps(servers.described()).encode() + b"\n")
        guard.stdin.flush()
        yield
    finally:
        try:
            bring_back(servers)
            guard.kill()
        finally:
            # Where we could not, or were interrupted once more, it is the guard's turn.
            with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
                guard.stdin.close()
                guard.wait(_RESTORE_SECONDS)


@contextlib.contextmanager
def restored(servers: ControlledServers) -> Iterator[None]:
    """Bring ``servers`` back at the end. Raises ``CourseError`` when one does not come back."""
    try:
        yield
    finally:
        bring_back(servers)
