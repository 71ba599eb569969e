"""Reading a stream of Redis on from where one has stopped, and noticing what is gone by then.

A stream keeps a limited number of entries, and a server that lost its data starts anew. Either may
have cost a reader an entry. So before he goes on from the last one that he knows, he asks whether
what followed it is all there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from helpers.stock.redis_strings import as_string

#: Where a reader stands who has read nothing.
BEGINNING = "0-0"


@dataclass(frozen=True)
class Extent:
    """The oldest entry that is left, the newest there ever was, and how many there are no more."""

    first: str | None
    last: str
    missing: int

    def holds_all_after(self, position: str) -> bool:
        """Tell whether every entry that followed ``position`` is still there."""
        mine, last = _order(position), _order(self.last)
        if mine >= last:
            return mine == last  # a stream that ends before it is another one
        if self.first is not None and _order(self.first) <= mine:
            return True
        return position == BEGINNING and not self.missing


def extent(client: redis.Redis, stream: str) -> Extent:
    """Return how far a stream reaches; one that is not there is empty.

    Raises ``redis.RedisError``.
    """
    try:
        info: Any = client.xinfo_stream(stream)
    except redis.ResponseError:  # there is no stream yet
        return Extent(None, BEGINNING, 0)
    found = {as_string(name): value for name, value in info.items()}
    first = found["first-entry"]
    return Extent(
        None if first is None else as_string(first[0]),
        as_string(found["last-generated-id"]),
        found["entries-added"] - found["length"],
    )


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number)
