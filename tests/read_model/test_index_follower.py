"""The index that a service follows has every change that was made before it is read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from helpers.joins import Query
from helpers.joins.product_index import ProductIndex
from helpers.read_model import index_follower
from helpers.read_model.index_follower import IndexFollower
from helpers.read_model.product_changes import PRODUCT_CHANGES, VERSION, announce, set_price
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from tests.joins.conftest import Both
from tests.waiting import come

GIFTS = Query(tags=["gift"])


@pytest.fixture
def shop(both: Both, twenty: Stores) -> Both:
    """Products 1 to 20 with their documents, which have no tag "gift"."""
    assert both.blocking.postgres.info.dbname == twenty.postgres.info.dbname
    twenty.mongo.productmetas.update_many({}, {"$pull": {"tags": "gift"}})
    return both


@contextlib.asynccontextmanager
async def _following(stores: AsyncStores, seconds: float = 60) -> AsyncIterator[IndexFollower]:
    async with IndexFollower(stores, seconds=seconds) as follower:
        await come(lambda: follower._index is not None)
        yield follower


async def _read(follower: IndexFollower) -> ProductIndex:
    index = await follower.current()
    assert index is not None
    return index


async def _in_thread(change: Any, *arguments: Any) -> None:
    await asyncio.to_thread(change, *arguments)


def test_each_change_of_a_document_is_in_the_next_read(shop: Both) -> None:
    documents = shop.blocking.mongo.productmetas

    async def check() -> None:
        async with _following(shop.awaited) as follower:
            assert len(await _read(follower)) == 20
            await _in_thread(documents.update_one, {"product_id": 3}, {"$set": {"tags": ["gift"]}})
            assert (await _read(follower)).page(GIFTS, None, 9) == [3]
            await _in_thread(documents.insert_one, {"product_id": 99, "tags": ["gift", "new"]})
            assert (await _read(follower)).page(GIFTS, None, 9) == [3, 99]
            await _in_thread(documents.delete_one, {"product_id": 3})
            assert (await _read(follower)).page(GIFTS, None, 9) == [99]
            await _in_thread(
                documents.insert_many,
                [{"product_id": n, "tags": ["gift"]} for n in range(200, 900)],
            )
            assert (await _read(follower)).count(GIFTS) == 701
            await _in_thread(documents.delete_many, {})
            assert len(await _read(follower)) == 0

    shop.runner.run(check())


def test_announced_categories_are_in_the_next_read(shop: Both) -> None:
    postgres = shop.blocking.postgres

    def count(index: ProductIndex) -> dict[str, int]:
        return dict(index.count_categories(Query()))

    async def check() -> None:
        async with _following(shop.awaited) as follower:
            before = count(await _read(follower))
            for number in (1, 2):
                postgres.execute("UPDATE products SET category = 'kite' WHERE id = %s", [number])
                announce(shop.blocking.redis, [number])
            assert count(await _read(follower))["kite"] == 2
            postgres.execute("DELETE FROM products WHERE id = 1")
            announce(shop.blocking.redis, [1])
            set_price(shop.blocking, 5, Decimal(1))
            after = count(await _read(follower))
            assert after["kite"] == 1
            assert sum(after.values()) == sum(before.values()) - 1
            # Announcements that are lost before they are read: all categories are read again.
            postgres.execute("UPDATE products SET category = 'kite' WHERE id = 7")
            announce(shop.blocking.redis, [7])
            shop.blocking.redis.xtrim(PRODUCT_CHANGES, maxlen=0)
            assert count(await _read(follower))["kite"] == 2
            postgres.execute("UPDATE products SET category = 'kite' WHERE id = 8")
            shop.blocking.redis.delete(PRODUCT_CHANGES, VERSION)
            assert count(await _read(follower))["kite"] == 3

    shop.runner.run(check())


def test_categories_that_were_not_announced_are_found_by_their_checksum(
    shop: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_follower, "_CHECK_SECONDS", 0.01)

    async def check() -> None:
        async with _following(shop.awaited) as follower:
            shop.blocking.postgres.execute("UPDATE products SET category = 'kite' WHERE id < 4")
            index = await _read(follower)
            await come(lambda: index.page(Query(category="kite"), None, 9) == [1, 2, 3])

    shop.runner.run(check())


@pytest.mark.parametrize("how", ["drop", "rename"])
def test_a_collection_that_is_replaced_is_indexed_again(shop: Both, how: str) -> None:
    documents = shop.blocking.mongo.productmetas

    async def check() -> None:
        async with _following(shop.awaited) as follower:
            first = await _read(follower)
            await _in_thread(documents.drop if how == "drop" else _swap)
            await _in_thread(documents.insert_one, {"product_id": 7, "tags": ["gift"]})
            while await follower.current() in (None, first):
                await asyncio.sleep(0.01)
            assert (await _read(follower)).page(GIFTS, None, 9) == [7]
            assert len(await _read(follower)) == 1

    def _swap() -> None:
        documents.rename("old_productmetas", dropTarget=True)

    try:
        shop.runner.run(check())
    finally:
        shop.blocking.mongo.drop_collection("old_productmetas")


def test_without_a_store_there_is_no_index_and_afterwards_it_goes_on(shop: Both) -> None:
    documents = shop.blocking.mongo.productmetas

    async def check() -> None:
        async with _following(shop.awaited) as follower:
            index = await _read(follower)
            stream, follower._stream = follower._stream, None
            await stream.close()  # as after a failure of the store
            await _in_thread(documents.update_one, {"product_id": 3}, {"$set": {"tags": ["gift"]}})
            assert (await _read(follower)).page(GIFTS, None, 9) == [3]
            assert await follower.current() is index, "it was not built again"

    shop.runner.run(check())


def test_a_read_does_not_wait_longer_than_it_may(shop: Both) -> None:
    async def check() -> None:
        async with _following(shop.awaited, seconds=0.01) as follower, follower._lock:
            assert await follower.current() is None

    shop.runner.run(check())
