"""Blocking and async clients of the same stores, and an event loop, shared by a module's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.proxied_stores import ProxiedStores, proxied
from tests.connections import connect_async_again
from tests.joins.filling import make_tables, put
from tests.joins.memory import MemoryStores
from tests.snapshots import filled_shop
from tests.stores.conftest import shop

__all__ = ["shop"]


def _fill(stores: Stores) -> None:
    seed(stores, 20, orders=False)


@pytest.fixture
def twenty(shared: Stores) -> Stores:
    """Twenty generated products, without orders."""
    return filled_shop(shared, _fill)


@pytest.fixture(scope="module")
def proxied_stores(shared: Stores) -> Iterator[ProxiedStores]:
    """The proxied stores, for the tests of a module; each restores them."""
    with proxied(shared) as found:
        yield found


@dataclass(frozen=True)
class Both:
    """Blocking and async clients of the same databases, and an event loop."""

    blocking: Stores
    awaited: AsyncStores
    runner: asyncio.Runner


@pytest.fixture(scope="module")
def both(shared: Stores) -> Iterator[Both]:
    """Tables and a collection for all tests of a module; each test fills them again.

    At the end the collection, which has no validator, is dropped, and the tables are emptied.
    """
    make_tables(shared)
    with asyncio.Runner() as runner:
        awaited = runner.run(connect_async_again(shared))
        yield Both(shared, awaited, runner)
        runner.run(awaited.aclose())
    put(shared, MemoryStores())
    shared.mongo.productmetas.drop()
