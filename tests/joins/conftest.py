"""The stores once more, for an event loop that a module's tests share; and a shop that is live."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import redis
from redis import asyncio as aioredis

from helpers.servers.spare import SpareValkey, spare_valkey
from helpers.shop.live_views import LiveViews
from helpers.shop.read_model import ReadModel
from helpers.shop.seed import seed
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, connect_beside
from helpers.stores.linked import LinkedStores, linked
from tests.joins.filling import make_tables, put
from tests.joins.live import SHOP, Live
from tests.joins.memory import MemoryStores
from tests.snapshots import filled_shop


def _fill(stores: Stores) -> None:
    seed(stores, 20, orders=False)


@pytest.fixture
def twenty(shared: Stores) -> Stores:
    """Twenty generated products, without orders."""
    return filled_shop(shared, _fill)


@pytest.fixture(scope="module")
def linked_stores(shared: Stores) -> Iterator[LinkedStores]:
    """The stores behind links, for the tests of a module; each restores them."""
    with linked(shared) as found:
        yield found


@dataclass(frozen=True)
class Both:
    """The same databases for waiting and for awaiting, and what runs the latter."""

    waiting: Stores
    awaited: AsyncStores
    runner: asyncio.Runner


@pytest.fixture(scope="module")
def both(shared: Stores) -> Iterator[Both]:
    """Tables and a collection that are there for all tests of a module; each fills them anew.

    At the end the collection, which has no validator, is dropped; the tables stay, and are empty.
    """
    make_tables(shared)
    with asyncio.Runner() as runner:
        awaited = runner.run(connect_beside(shared))
        yield Both(shared, awaited, runner)
        runner.run(awaited.aclose())
    put(shared, MemoryStores())
    shared.mongo.productmetas.drop()


@pytest.fixture(scope="module")
def spare() -> Iterator[SpareValkey]:
    """A Redis of a module's own: what it tells and counts is of the tests' doing alone."""
    with spare_valkey(settings={"enable-debug-command": "local"}) as server:
        yield server


@pytest.fixture
def live_stores(both: Both, spare: SpareValkey) -> Iterator[tuple[Stores, AsyncStores]]:
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
