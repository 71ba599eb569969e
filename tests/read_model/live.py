"""A shop with live views, and each moment of a read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import pytest
import redis

from helpers.joins import batched, products_json
from helpers.read_model.live_views import LiveList, LiveViews
from helpers.read_model.product_changes import VERSION
from helpers.read_model.views import ReadModel
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.key_changes import Answered, KeyChanges
from tests.joins.memory import MemoryStores

T = TypeVar("T")

SHOP = MemoryStores(
    {one: (f"Product {one}", f"{one}.50", "lamp") for one in range(1, 21)},
    [{"product_id": one, "description": f"D {one}", "tags": ["ä"]} for one in range(1, 16)],
    {one: b"%d" % one for one in range(1, 18)} | {18: b"-3", 19: b"many"},
)


@dataclass(frozen=True)
class Live:
    """One shop for waiting and for awaiting, its keeper, its live views and what runs them."""

    waiting: Stores
    awaited: AsyncStores
    model: ReadModel
    views: LiveViews
    runner: asyncio.Runner

    def read(self) -> LiveList:
        return self.runner.run(self.views.read())

    def assert_current(self) -> LiveList:
        """Assert that the list is byte for byte what the join answers, and return it."""
        found = self.read()
        assert found.body == products_json(batched(self.waiting))
        version = int(self.waiting.redis.get(VERSION) or 0)
        assert (found.applied, found.behind, found.complete) == (version, 0, True)
        assert found.count == len(orjson.loads(found.body))
        return found

    def product(self, product_id: int) -> dict[str, Any]:
        products = orjson.loads(self.read().body)
        (found,) = (one for one in products if one["id"] == product_id)
        return dict(found)


class Moments:
    """One moment of a read after the other: just before each command that it sends."""

    def __init__(self, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        self._live = live
        self._monkeypatch = monkeypatch
        self._sent = 0
        self.moment = 0

    def __iter__(self) -> Iterator[int]:
        """Go on as long as a read sends so many commands."""
        while self._sent >= self.moment:
            self._live.read()
            yield self.moment
            self.moment += 1
        assert self.moment > 4

    def read(self, change: Callable[[], T]) -> tuple[LiveList, T | None]:
        """Read, with a change in this moment; return both answers (``None``: there was none)."""
        send = KeyChanges._send
        changed: list[T] = []
        self._sent = 0

        def hooked(keys: KeyChanges, command: bytes, answered: Answered) -> None:
            self._sent += 1
            if self._sent == self.moment + 1:
                try:
                    changed.append(change())
                except redis.ResponseError as error:
                    answered(error)
                    return
            send(keys, command, answered)

        with self._monkeypatch.context() as patched:
            patched.setattr(KeyChanges, "_send", hooked)
            found = self._live.read()
        return found, changed[0] if changed else None


def connections(client: redis.Redis) -> list[str]:
    """Return the connections of live views to this server."""
    return [one["id"] for one in client.client_list() if one["name"] == "key-changes"]
