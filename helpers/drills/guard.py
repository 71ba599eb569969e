"""However a drill ends, its servers come back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from helpers.drills.servers import DrilledServers, bring_back
from helpers.settings import PROJECT

# As long as a server may take to start, and some more.
_RESTORE_SECONDS = 180.0


@contextlib.contextmanager
def guarded(servers: DrilledServers, lock: int) -> Iterator[None]:
    """Bring ``servers`` back at the end, and have a guard do it if we die, or fail.

    The guard holds ``lock``, a descriptor, until it has done so: no other drill begins before.

    Raises ``CourseError`` when a server does not come back.
    """
    guard = subprocess.Popen(
        [sys.executable, "-m", "helpers.drills.watch"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,  # an interrupt meant for us is none for it
    )
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
def restored(servers: DrilledServers) -> Iterator[None]:
    """Bring ``servers`` back at the end. Raises ``CourseError`` when one does not come back."""
    try:
        yield
    finally:
        bring_back(servers)
