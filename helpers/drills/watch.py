"""Bring servers back once the process that practised with them has died.

Run as ``python -m helpers.drills.watch``, with a pipe as its input that only that process holds:
one line of JSON says which servers, and the input ends when the process does.
"""

from __future__ import annotations

import json
import sys

from helpers.drills.servers import bring_back, servers_of

if __name__ == "__main__":
    said = sys.stdin.buffer.read()
    if said.endswith(b"\n"):  # else it died before it had begun
        bring_back(servers_of(json.loads(said)))
