"""How many connections each store gets, and how long requests wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from helpers.errors import StoreName
from helpers.stores.time_budgets import Budgets

#: How long a server may take to accept a connection, in seconds.
TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Limits:
    """How many connections each store gets, and how long requests wait, in seconds.

    ``wait_seconds`` limits the wait for a free connection, ``answer_seconds`` that for a reply;
    ``budgets`` gives each store its own limit for a reply instead.
    """

    connections: int = 10
    wait_seconds: float = 5.0
    answer_seconds: float = 10.0
    budgets: Budgets | None = None

    def seconds(self, store: StoreName) -> float:
        """Return how long a reply of a store may take."""
        return self.answer_seconds if self.budgets is None else self.budgets[store]

    def for_redis(self) -> dict[str, Any]:
        """Return these limits as options of a blocking pool of redis-py that decodes strings."""
        return {
            "max_connections": self.connections,
            "timeout": self.wait_seconds,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "socket_timeout": self.seconds("Redis"),
            "decode_responses": True,
        }
