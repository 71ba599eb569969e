"""The stores once more, for an event loop that a module's tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from helpers.shop.schema import drop_shop
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, connect_beside
from tests.joins.filling import make_tables


@dataclass(frozen=True)
class Both:
    """The same databases for waiting and for awaiting, and what runs the latter."""

    waiting: Stores
    awaited: AsyncStores
    runner: asyncio.Runner


@pytest.fixture(scope="module")
def both(shared: Stores) -> Iterator[Both]:
    """Tables and a collection that are there for all tests of a module; each fills them anew."""
    make_tables(shared)
    with asyncio.Runner() as runner:
        awaited = runner.run(connect_beside(shared))
        yield Both(shared, awaited, runner)
        runner.run(awaited.aclose())
    drop_shop(shared)
    shared.redis.flushdb()
