"""A shop with a view cache, on a temporary Redis server for the module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from redis import asyncio as aioredis

from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.read_model.view_cache import ViewCache
from helpers.read_model.views import ReadModel
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from tests.joins.conftest import Both, both, proxied_stores, twenty
from tests.joins.filling import put
from tests.read_model.cached_shop import SHOP, CachedShop

__all__ = ["both", "proxied_stores", "twenty"]


@pytest.fixture(scope="module")
def temporary_redis() -> Iterator[TemporaryValkey]:
    """A temporary server, so that it reports and counts only what these tests do."""
    with temporary_valkey(settings={"enable-debug-command": "local"}) as server:
        yield server


@pytest.fixture
def cached_stores(
    both: Both, temporary_redis: TemporaryValkey
) -> Iterator[tuple[Stores, AsyncStores]]:
    """A shop whose stock counts and views are on the temporary server."""
    client = redis.Redis.from_url(temporary_redis.url, decode_responses=True)
    awaited = aioredis.Redis.from_url(temporary_redis.url, decode_responses=True)
    blocking = replace(both.blocking, redis=client)
    client.flushall()
    put(blocking, SHOP)
    yield blocking, replace(both.awaited, redis=awaited)
    both.runner.run(awaited.aclose())
    client.close()


@pytest.fixture
def cached(both: Both, cached_stores: tuple[Stores, AsyncStores]) -> Iterator[CachedShop]:
    """The same with its views built, and a cache."""
    blocking, awaited = cached_stores
    cache = ViewCache(awaited)
    with ReadModel(blocking) as model:
        model.rebuild()
        yield CachedShop(blocking, awaited, model, cache, both.runner)
    both.runner.run(cache.aclose())
