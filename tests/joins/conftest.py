"""The stores once more, for an event loop that the tests of a module share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, connect_beside
from helpers.stores.proxied_stores import ProxiedStores, proxied
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
    """The stores behind links, for the tests of a module; each restores them."""
    with proxied(shared) as found:
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
