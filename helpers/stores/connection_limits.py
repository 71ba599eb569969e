"""How many connections each store gets, and how long requests wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helpers.errors import StoreName

#: The time limit of each store, in seconds per request.
Budgets = Mapping[StoreName, float]

#: How long a server may take to accept a connection, in seconds.
TIMEOUT_SECONDS = 5


def share_deadline(seconds: float) -> Budgets:
    """Return limits that fit into the deadline of an HTTP request.

    If one request to each store in turn times out, a fifth of the time is left to report it.
    """
    return {"PostgreSQL": 0.4 * seconds, "MongoDB": 0.25 * seconds, "Redis": 0.15 * seconds}


@dataclass(frozen=True)
class Limits:
    """How many connections each store gets, and how long requests wait, in seconds.

    ``wait_seconds`` limits the wait for a free connection, ``answer_seconds`` that for a reply, of
    all stores or of each.
    """

    connections: int = 10
    wait_seconds: float = 5.0
    answer_seconds: float | Budgets = 10.0

    def seconds(self, store: StoreName) -> float:
        """Return how long a reply of a store may take."""
        return seconds_of(self.answer_seconds, store)

    def for_redis(self) -> dict[str, Any]:
        """Return these limits as options of a blocking pool of redis-py that decodes strings."""
        return {
            "max_connections": self.connections,
            "timeout": self.wait_seconds,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "socket_timeout": self.seconds("Redis"),
            "decode_responses": True,
        }


def seconds_of(limits: float | Budgets, store: StoreName) -> float:
    """Return the limit of a store, where ``limits`` has one for each or one for all."""
    return limits[store] if isinstance(limits, Mapping) else limits
