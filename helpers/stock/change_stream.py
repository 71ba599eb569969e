"""The stream of changes: which counts changed, for whoever keeps a copy of his own.

A reader remembers in Redis how far it has come, and goes on from there: after a pause, a crash or
a lost connection. What pub/sub would have thrown away is still in the stream. Where some of it is
gone, the reader is told to read everything again.
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
    """What a reader has not handled yet.

    ``product_ids`` have changed, each named once. Where ``complete`` is false, others may have
    changed as well: read everything again. ``position`` is the last entry that this covers.
    """

    product_ids: tuple[int, ...]
    complete: bool
    position: str


class ChangeReader:
    """One reader of the stream, known by its ``name``. Methods raise ``redis.RedisError``.

    A new reader begins with what changes from now on.
    """

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._redis = client
        self._position_key = position_key(validation.token(name))
        self.position = self._stored() or self._start()

    def read(self, *, most: int = 1000, wait_seconds: float | None = None) -> Changes:
        """Return up to ``most`` entries' changes after the last that was handled.

        Where there are none, waits up to ``wait_seconds`` for one. Until ``done`` is called, the
        next call answers the same and what came since: so a reader that crashes misses nothing.
        """
        reach = extent(self._redis, CHANGES)
        # A server that lost its data has lost our position too.
        if self._stored() != self.position or not reach.holds_all_after(self.position):
            return Changes((), complete=False, position=reach.last)
        wait = None if wait_seconds is None else max(1, round(1000 * wait_seconds))
        answer: Any = self._redis.xread({CHANGES: self.position}, count=most, block=wait)
        entries = _entries(answer)
        products = dict.fromkeys(
            int(product) for _, ids in entries for product in ids.split(",") if product
        )
        position = entries[-1][0] if entries else self.position
        return Changes(tuple(products), complete=True, position=position)

    def done(self, changes: Changes) -> None:
        """Remember that ``changes`` are handled."""
        self._redis.set(self._position_key, changes.position)
        self.position = changes.position

    def _stored(self) -> str | None:
        found = self._redis.get(self._position_key)
        return None if found is None else as_string(found)

    def _start(self) -> str:
        position = extent(self._redis, CHANGES).last
        self._redis.set(self._position_key, position)
        return position


def _entries(answer: Any) -> list[tuple[str, str]]:
    """Return pairs of an entry's id and its product ids, from either protocol's answer."""
    streams = list(answer.values()) if isinstance(answer, dict) else [s[1] for s in answer or ()]
    entries: list[tuple[str, str]] = []
    for stream in streams:
        # RESP3 puts the entries of a stream into one more list.
        flat = stream[0] if stream and isinstance(stream[0], list) else stream
        for entry, fields in flat:
            found = {as_string(name): as_string(value) for name, value in fields.items()}
            entries.append((as_string(entry), found.get("products", "")))
    return entries
