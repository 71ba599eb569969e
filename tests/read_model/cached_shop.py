"""A shop with a view cache, and a way to change it at each step of a read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import pytest
import redis

from helpers.joins import batched, products_json
from helpers.read_model.product_changes import VERSION
from helpers.read_model.view_cache import ProductList, ViewCache
from helpers.read_model.views import ReadModel
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.key_changes import KeyChanges, OnReply
from tests.joins.memory import MemoryStores

T = TypeVar("T")

SHOP = MemoryStores(
    {number: (f"Product {number}", f"{number}.50", "lamp") for number in range(1, 21)},
    [
        {"product_id": number, "description": f"D {number}", "tags": ["ä"]}
        for number in range(1, 16)
    ],
    {number: b"%d" % number for number in range(1, 18)} | {18: b"-3", 19: b"many"},
)


@dataclass(frozen=True)
class CachedShop:
    """A shop with blocking and async clients, its read model, its cache and an event loop."""

    blocking: Stores
    awaited: AsyncStores
    model: ReadModel
    cache: ViewCache
    runner: asyncio.Runner

    def read(self) -> ProductList:
        return self.runner.run(self.cache.read())

    def assert_current(self) -> ProductList:
        """Assert that the list equals the join byte for byte, and return it."""
        found = self.read()
        assert found.body == products_json(batched(self.blocking))
        version = int(self.blocking.redis.get(VERSION) or 0)
        assert (found.applied, found.behind, found.complete) == (version, 0, True)
        assert found.count == len(orjson.loads(found.body))
        return found

    def product(self, product_id: int) -> dict[str, Any]:
        products = orjson.loads(self.read().body)
        (found,) = (product for product in products if product["id"] == product_id)
        return dict(found)


class Steps:
    """Iterates over the steps of a read; a step is just before a command is sent."""

    def __init__(self, shop: CachedShop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shop = shop
        self._monkeypatch = monkeypatch
        self._sent = 0
        self.step = 0

    def __iter__(self) -> Iterator[int]:
        """Yield the number of the step, until a read sends fewer commands."""
        while self._sent >= self.step:
            self._shop.read()
            yield self.step
            self.step += 1
        assert self.step > 4

    def read(self, change: Callable[[], T]) -> tuple[ProductList, T | None]:
        """Read with a change in this step; return both results (``None``: no such step)."""
        send = KeyChanges._send
        changed: list[T] = []
        self._sent = 0

        def hooked(keys: KeyChanges, command: bytes, on_reply: OnReply) -> None:
            self._sent += 1
            if self._sent == self.step + 1:
                try:
                    changed.append(change())
                except redis.ResponseError as error:
                    on_reply(error)
                    return
            send(keys, command, on_reply)

        with self._monkeypatch.context() as patched:
            patched.setattr(KeyChanges, "_send", hooked)
            found = self._shop.read()
        return found, changed[0] if changed else None


def connections(client: redis.Redis) -> list[str]:
    """Return the connections of view caches to this server."""
    return [found["id"] for found in client.client_list() if found["name"] == "key-changes"]
