"""Bring servers back once the process that practised with them has died.

``start_cleanup_process`` calls ``main`` in a process that outlives it.
"""

from __future__ import annotations

import json

from helpers.faults.server_control import bring_back, servers_of


def main(said: bytes) -> None:
    """Bring back the servers that ``said``, one line of JSON, describes."""
    if said.endswith(b"\n"):  # else it died before it had begun
        bring_back(servers_of(json.loads(said)))
