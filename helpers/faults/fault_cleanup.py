"""Restore the servers after the process that injected faults into them has died.

``start_cleanup_process`` calls ``main`` in a process that outlives it.
"""

from __future__ import annotations

import json

from helpers.faults.server_control import restore_servers, servers_of


def main(description: bytes) -> None:
    """Restore the servers that ``description``, one line of JSON, identifies."""
    if description.endswith(b"\n"):  # otherwise the process died before it injected a fault
        restore_servers(servers_of(json.loads(description)))
