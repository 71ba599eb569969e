"""The cached list equals the join, is never stale, and stays the same object until a change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest
import redis

from helpers.embedded.temporary_valkey import TemporaryValkey
from helpers.errors import ReadModelError
from helpers.read_model.product_changes import announce, set_price
from helpers.read_model.view_cache import ProductList, ViewCache
from helpers.read_model.views import ReadModel
from helpers.stock import Stock
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from tests.joins.conftest import Both
from tests.joins.filling import delete_product, insert_product
from tests.read_model.cached_shop import CachedShop, Steps, connections

# On a temporary server, so that it reports and counts only what these tests do.
pytestmark = pytest.mark.servers


def _calls(client: redis.Redis) -> dict[str, int]:
    """Return how often each command was called, without INFO itself."""
    stats: Any = client.info("commandstats")
    return {name: entry["calls"] for name, entry in stats.items() if name != "cmdstat_info"}


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


def test_the_list_equals_the_join_byte_for_byte(cached: CachedShop) -> None:
    found = cached.assert_current()
    assert found.count == 20
    assert [cached.product(product_id)["stock"] for product_id in (17, 18, 19, 20)] == [
        "17",
        "0",
        None,
        None,
    ]


def test_without_changes_a_read_is_one_ping_and_returns_the_same_object(cached: CachedShop) -> None:
    found = cached.read()
    before = _calls(cached.blocking.redis)
    for _ in range(10):
        assert cached.read() is found
    after = _calls(cached.blocking.redis)
    assert _difference(before, after) == {"cmdstat_ping": 10}


def test_concurrent_readers_share_a_check_but_never_one_sent_before_they_came(
    cached: CachedShop,
) -> None:
    async def together() -> list[ProductList]:
        return await asyncio.gather(*(cached.cache.read() for _ in range(16)))

    found = cached.read()
    before = _calls(cached.blocking.redis)
    results = cached.runner.run(together())
    assert all(result is found for result in results)
    # The first reader sends one. The others come after it was sent.
    assert _difference(before, _calls(cached.blocking.redis)) == {"cmdstat_ping": 2}


def test_only_changed_keys_are_read_again(cached: CachedShop) -> None:
    cached.read()
    cached.blocking.redis.mset({"stock:3": 33, "stock:4": 44, "stock:999": 9, "stock:none": 9})
    before = _calls(cached.blocking.redis)
    cached.assert_current()
    done = _difference(before, _calls(cached.blocking.redis))
    # The script reads the stock counts of two products; the join reads all at once.
    assert (done["cmdstat_eval_ro"], done["cmdstat_pttl"], done["cmdstat_mget"]) == (1, 2, 2 + 1)


def test_the_next_read_shows_each_change(cached: CachedShop) -> None:
    client = cached.blocking.redis
    etags = {cached.assert_current().etag}

    def changed() -> None:
        etag = cached.assert_current().etag
        assert etag not in etags
        etags.add(etag)

    client.set("stock:1", 100)
    changed()
    Stock.of(cached.blocking).reserve({1: 2, 2: 1})
    changed()
    assert (cached.product(1)["stock"], cached.product(2)["stock"]) == ("98", "1")
    client.delete("stock:5")
    changed()
    client.set("stock:5", 7)
    changed()
    client.lpush("stock:20", 1)  # not a stock count
    assert cached.assert_current().etag in etags
    set_price(cached.blocking, 3, Decimal("99.90"))
    cached.model.catch_up()
    changed()
    cached.blocking.mongo.productmetas.update_one(
        {"product_id": 4}, {"$set": {"description": "New"}}
    )
    cached.model.catch_up()
    changed()
    delete_product(cached.blocking, 6)
    insert_product(cached.blocking, 21, "lamp", ["new"])
    insert_product(cached.blocking, -1, "lamp", [])
    announce(client, [6, 21])
    cached.model.rebuild()
    changed()
    assert cached.read().count == 21


def test_writing_the_same_value_changes_nothing(cached: CachedShop) -> None:
    found = cached.read()
    cached.blocking.redis.set("stock:1", 1)
    cached.model.rebuild()
    assert cached.read() is found
    cached.blocking.redis.set("stock:1", 2)
    assert cached.read().etag != found.etag
    cached.blocking.redis.set("stock:1", 1)
    assert cached.read() == found


def test_the_list_tells_how_far_the_views_are_behind(cached: CachedShop) -> None:
    found = cached.assert_current()
    set_price(cached.blocking, 1, Decimal(7))
    set_price(cached.blocking, 2, Decimal(8))
    behind = cached.read()
    assert behind == replace(found, behind=2)
    assert (behind.applied, found.applied) == (0, 0)
    assert behind.body is found.body
    cached.model.catch_up()
    assert cached.assert_current().applied == 2


RELOAD = pytest.mark.parametrize(
    "reload",
    [
        pytest.param(False, id="changed keys"),
        pytest.param(True, id="everything", marks=pytest.mark.verify),
    ],
)


@pytest.fixture
def steps(cached: CachedShop, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(cached, monkeypatch)


@RELOAD
def test_a_change_at_any_step_of_a_read_is_in_the_list_if_its_version_is(
    cached: CachedShop, steps: Steps, reload: bool
) -> None:
    def change() -> int:
        number = 1000 + steps.step
        version = set_price(cached.blocking, 1, Decimal(number))
        cached.blocking.redis.set("stock:1", number)
        cached.model.catch_up()
        return version

    for _ in steps:
        if reload:
            cached.blocking.redis.flushdb()
        set_price(cached.blocking, 2, Decimal(1000 + steps.step))
        cached.model.catch_up()
        found, version = steps.read(change)
        price = orjson.loads(found.body)[0]["price"]
        assert version is None or found.applied < version or price == str(1000 + steps.step)
        cached.assert_current()


@RELOAD
def test_an_error_at_any_step_of_a_read_leaves_nothing_unread(
    cached: CachedShop, steps: Steps, reload: bool
) -> None:
    def fail() -> None:
        raise redis.ResponseError("BUSY")

    for _ in steps:
        if reload:
            cached.blocking.redis.flushdb()
        if steps.step % 2:
            insert_product(cached.blocking, 20, "lamp", [])
        else:
            delete_product(cached.blocking, 20)
        announce(cached.blocking.redis, [20])
        cached.blocking.redis.set("stock:1", 1000 + steps.step)
        cached.model.catch_up()
        with contextlib.suppress(redis.ResponseError):  # raised at all steps but the last
            steps.read(fail)
        assert len(connections(cached.blocking.redis)) == 1
        cached.assert_current()


@RELOAD
def test_views_lost_at_any_step_of_a_read_make_the_list_incomplete(
    cached: CachedShop, steps: Steps, reload: bool
) -> None:
    for _ in steps:
        if reload:
            cached.blocking.redis.flushdb()
            cached.model.catch_up()
        else:
            set_price(cached.blocking, 2, Decimal(1000 + steps.step))
            cached.model.catch_up()
        found, _ = steps.read(cached.blocking.redis.flushdb)
        assert found.count == 20 or not found.complete
        cached.model.catch_up()
        cached.assert_current()


def test_an_expired_stock_count_is_not_shown(cached: CachedShop) -> None:
    client = cached.blocking.redis
    # So that the server does not delete the key and announce it.
    debug: Any = client.execute_command
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    seconds, microseconds = client.time()
    expiry = 1000 * seconds + microseconds // 1000 + 300
    client.set("stock:1", 5, pxat=expiry)
    client.set("stock:2", 6, px=100_000)
    assert [cached.product(product_id)["stock"] for product_id in (1, 2)] == ["5", "6"]
    while (1000 * seconds + microseconds // 1000) <= expiry:
        seconds, microseconds = client.time()
    assert [cached.product(product_id)["stock"] for product_id in (1, 2)] == [None, "6"]
    cached.assert_current()
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def test_lost_views_make_the_list_incomplete_until_they_are_rebuilt(
    cached: CachedShop,
) -> None:
    cached.read()
    cached.blocking.redis.flushdb()
    lost = cached.read()
    assert (lost.body, lost.count, lost.behind, lost.complete) == (b"[]", 0, 0, False)
    assert repr(lost) == "<ProductList of 0 products, 0 behind, incomplete>"
    cached.model.catch_up()
    assert cached.assert_current().count == 20


def test_flushing_another_database_changes_nothing(
    cached: CachedShop, temporary_redis: TemporaryValkey
) -> None:
    found = cached.read()
    with redis.Redis.from_url(temporary_redis.url.removesuffix("/0") + "/5") as other:
        other.mset({"stock:1": 99, "shop:view:1": "no view"})
        assert cached.assert_current() == found
        other.flushdb()
        assert cached.assert_current() == found


def test_an_invalid_view_raises_an_error_until_it_is_rebuilt(cached: CachedShop) -> None:
    cached.read()
    cached.blocking.redis.set("stock:3", 9)
    cached.blocking.redis.set("shop:view:3", "{}")
    for _ in range(2):
        with pytest.raises(ReadModelError, match="view of product 3"):
            cached.read()
    cached.model.rebuild()
    assert cached.assert_current().count == 20


def test_missing_stock_counts_are_read_from_the_ledger(
    both: Both, cached_stores: tuple[Stores, AsyncStores]
) -> None:
    blocking, awaited = cached_stores
    requested: list[list[int]] = []
    ledger: dict[int, int | None] = {19: 190, 20: None, 1: -4}

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        requested.append(sorted(ids))
        if 2 in ids:
            raise psycopg.OperationalError("the ledger does not answer")
        return ledger

    async def stocks(views: ViewCache) -> dict[int, str | None]:
        products = orjson.loads((await views.read()).body)
        return {product["id"]: product["stock"] for product in products}

    async def main() -> None:
        views = ViewCache(awaited, fill=fill)
        try:
            found = await stocks(views)
            assert (found[18], found[19], found[20]) == ("0", "190", None)
            blocking.redis.delete("stock:1")
            assert (await stocks(views))[1] == "0"
            assert requested[:2] == [[19, 20], [1]]
            # An error of the ledger is raised, and the next read tries it again.
            blocking.redis.delete("stock:2")
            for _ in range(2):
                with pytest.raises(psycopg.OperationalError, match="does not answer"):
                    await stocks(views)
            blocking.redis.set("stock:2", 22)
            assert (await stocks(views))[2] == "22"
            # Changes of the ledger are not announced: it is read again after some time.
            ledger[20] = 200
            while (await stocks(views))[20] is None:
                await asyncio.sleep(0.05)
            assert [19, 20] in [ids[-2:] for ids in requested[2:]]
        finally:
            await views.aclose()

    with ReadModel(blocking) as model:
        model.rebuild()
    both.runner.run(main())
