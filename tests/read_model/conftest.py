"""A shop whose views are live, on a Redis of the module's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from redis import asyncio as aioredis

from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.read_model.live_views import LiveViews
from helpers.read_model.views import ReadModel
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from tests.joins.conftest import Both, both, proxied_stores, twenty
from tests.joins.filling import put
from tests.read_model.live import SHOP, Live

__all__ = ["both", "proxied_stores", "twenty"]


@pytest.fixture(scope="module")
def spare() -> Iterator[TemporaryValkey]:
    """A Redis of a module's own: what it tells and counts is of the tests' doing alone."""
    with temporary_valkey(settings={"enable-debug-command": "local"}) as server:
        yield server


@pytest.fixture
def live_stores(both: Both, spare: TemporaryValkey) -> Iterator[tuple[Stores, AsyncStores]]:
    """A shop, its counts and views on the spare server."""
    client = redis.Redis.from_url(spare.url, decode_responses=True)
    awaited = aioredis.Redis.from_url(spare.url, decode_responses=True)
    waiting = replace(both.waiting, redis=client)
    client.flushall()
    put(waiting, SHOP)
    yield waiting, replace(both.awaited, redis=awaited)
    both.runner.run(awaited.aclose())
    client.close()


@pytest.fixture
def live(both: Both, live_stores: tuple[Stores, AsyncStores]) -> Iterator[Live]:
    """The same, its views made, and kept live."""
    waiting, awaited = live_stores
    views = LiveViews(awaited)
    with ReadModel(waiting) as model:
        model.rebuild()
        yield Live(waiting, awaited, model, views, both.runner)
    both.runner.run(views.aclose())
