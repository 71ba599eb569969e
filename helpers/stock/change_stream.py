"""The stream of stock changes: tell readers that keep a copy which stock counts changed.

A reader stores its position in Redis and continues from there after a pause, a crash or a lost
connection. Pub/sub would have dropped the messages; the stream still has them. If the stream no
longer has all of them, the reader is told to read everything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from helpers import validation
from helpers.stock.redis_keys import CHANGES, position_key
from helpers.stock.redis_streams import extent
from helpers.stock.redis_strings import as_string


@dataclass(frozen=True)
class Changes:
    """Changes that a reader has not processed yet.

    ``product_ids`` have changed, each listed once. If ``complete`` is false, other products may
    have changed too: read everything again. ``position`` is the id of the last entry covered.
    """

    product_ids: tuple[int, ...]
    complete: bool
    position: str


class ChangeReader:
    """A reader of the stream, identified by ``name``. Methods raise ``redis.RedisError``.

    A reader with a new name starts at the end of the stream.
    """

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._redis = client
        self._position_key = position_key(validation.token(name))
        self.position = self._stored_position() or self._start()

    def read(self, *, most: int = 1000, wait_seconds: float | None = None) -> Changes:
        """Return the changes of up to ``most`` entries after the last one that was processed.

        If there are none, waits up to ``wait_seconds`` for one. Until ``done`` is called, the next
        call returns the same changes and newer ones, so a reader that crashes misses none.
        """
        stream = extent(self._redis, CHANGES)
        # A server that lost its data has lost our position too.
        position_lost = self._stored_position() != self.position
        if position_lost or not stream.holds_all_after(self.position):
            return Changes((), complete=False, position=stream.last)
        block = None if wait_seconds is None else max(1, round(1000 * wait_seconds))
        response: Any = self._redis.xread({CHANGES: self.position}, count=most, block=block)
        entries = _entries(response)
        products = dict.fromkeys(
            int(product_id) for _, ids in entries for product_id in ids.split(",") if product_id
        )
        position = entries[-1][0] if entries else self.position
        return Changes(tuple(products), complete=True, position=position)

    def done(self, changes: Changes) -> None:
        """Store that ``changes`` are processed."""
        self._redis.set(self._position_key, changes.position)
        self.position = changes.position

    def _stored_position(self) -> str | None:
        found = self._redis.get(self._position_key)
        return None if found is None else as_string(found)

    def _start(self) -> str:
        position = extent(self._redis, CHANGES).last
        self._redis.set(self._position_key, position)
        return position


def _entries(response: Any) -> list[tuple[str, str]]:
    """Return (entry id, product ids) of each entry in a RESP2 or RESP3 response to ``XREAD``."""
    if isinstance(response, dict):
        streams = list(response.values())
    else:
        streams = [stream[1] for stream in response or ()]
    entries: list[tuple[str, str]] = []
    for stream in streams:
        # RESP3 wraps the entries of a stream in another list.
        flat = stream[0] if stream and isinstance(stream[0], list) else stream
        for entry_id, fields in flat:
            found = {as_string(name): as_string(value) for name, value in fields.items()}
            entries.append((as_string(entry_id), found.get("products", "")))
    return entries
