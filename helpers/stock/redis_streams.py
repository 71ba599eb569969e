"""Check whether a Redis stream still has every entry after a reader's position.

A stream keeps a limited number of entries, and a server that lost its data starts an empty stream.
A reader may have missed entries in both cases, so it checks before it reads on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from helpers.stock.redis_strings import as_string

#: The position of a reader that has read nothing.
BEGINNING = "0-0"


@dataclass(frozen=True)
class Extent:
    """The ids of a stream's oldest entry and last entry ever, and how many were deleted."""

    first: str | None
    last: str
    missing: int

    def holds_all_after(self, position: str) -> bool:
        """Return whether the stream still has every entry that was added after ``position``."""
        reader, last = _order(position), _order(self.last)
        if reader >= last:
            return reader == last  # a stream that ends before the position is a new one
        if self.first is not None and _order(self.first) <= reader:
            return True
        return position == BEGINNING and not self.missing


def extent(client: redis.Redis, stream: str) -> Extent:
    """Return a stream's extent; a stream that does not exist is empty.

    Raises ``redis.RedisError``.
    """
    try:
        info: Any = client.xinfo_stream(stream)
    except redis.ResponseError:  # the stream does not exist yet
        return Extent(None, BEGINNING, 0)
    found = {as_string(name): value for name, value in info.items()}
    first = found["first-entry"]
    return Extent(
        None if first is None else as_string(first[0]),
        as_string(found["last-generated-id"]),
        found["entries-added"] - found["length"],
    )


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
