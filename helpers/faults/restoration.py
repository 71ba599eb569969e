"""Restore servers after fault injection, even if this process crashes."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

from helpers.embedded.cleanup_process import start_cleanup_process
from helpers.faults.server_control import ControlledServers, restore_servers, servers_of

# Longer than a server may take to start.
_RESTORE_SECONDS = 180.0


@contextlib.contextmanager
def restore_even_after_crash(servers: ControlledServers, lock: int) -> Iterator[None]:
    """Restore ``servers`` at the end; a second process does it if this one dies or fails.

    That process holds ``lock``, a file descriptor, until the servers run again, so that no other
    process injects faults into them before.

    Raises ``CourseError`` if a server does not start.
    """
    cleanup = start_cleanup_process(__name__, pass_fds=[lock])
    assert cleanup.stdin is not None
    try:
        cleanup.stdin.write(json.dumps(servers.described()).encode() + b"\n")
        cleanup.stdin.flush()
        yield
    finally:
        try:
            restore_servers(servers)
            cleanup.kill()
        finally:
            # If that failed or was interrupted, closing its input makes the second process do it.
            with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
                cleanup.stdin.close()
                cleanup.wait(_RESTORE_SECONDS)


@contextlib.contextmanager
def restore_at_exit(servers: ControlledServers) -> Iterator[None]:
    """Restore ``servers`` at the end. Raises ``CourseError`` if one does not start."""
    try:
        yield
    finally:
        restore_servers(servers)


def main(description: bytes) -> None:
    """Restore the servers that ``description``, one line of JSON, identifies.

    ``restore_even_after_crash`` lets a process call this that outlives the one it was called in.
    """
    if description.endswith(b"\n"):  # otherwise the process died before it injected a fault
        restore_servers(servers_of(json.loads(description)))
