"""The live list is the join's answer, never older than its question, and one object until then."""

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
from helpers.read_model.live_views import LiveList, LiveViews
from helpers.read_model.product_changes import announce, set_price
from helpers.read_model.views import ReadModel
from helpers.stock import Stock
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from tests.joins.conftest import Both
from tests.joins.filling import delete_product, insert_product
from tests.read_model.live import Live, Moments, connections

# On a server of our own: what it tells and counts is of our doing alone.
pytestmark = pytest.mark.servers


def _calls(client: redis.Redis) -> dict[str, int]:
    """Return how often each command was called, but for those of this question."""
    stats: Any = client.info("commandstats")
    return {name: one["calls"] for name, one in stats.items() if name != "cmdstat_info"}


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


def test_the_list_is_byte_for_byte_what_the_join_answers(live: Live) -> None:
    found = live.assert_current()
    assert found.count == 20
    assert [live.product(one)["stock"] for one in (17, 18, 19, 20)] == ["17", "0", None, None]


def test_while_nothing_changes_a_read_is_one_ping_and_the_same_object(live: Live) -> None:
    found = live.read()
    before = _calls(live.waiting.redis)
    for _ in range(10):
        assert live.read() is found
    after = _calls(live.waiting.redis)
    assert _difference(before, after) == {"cmdstat_ping": 10}


def test_those_who_come_together_share_a_check_but_never_one_that_was_sent_before(
    live: Live,
) -> None:
    async def together() -> list[LiveList]:
        return await asyncio.gather(*(live.views.read() for _ in range(16)))

    found = live.read()
    before = _calls(live.waiting.redis)
    answers = live.runner.run(together())
    assert all(one is found for one in answers)
    # The first of them sends one. The others come after it was sent.
    assert _difference(before, _calls(live.waiting.redis)) == {"cmdstat_ping": 2}


def test_only_what_was_named_is_read_again(live: Live) -> None:
    live.read()
    live.waiting.redis.mset({"stock:3": 33, "stock:4": 44, "stock:999": 9, "stock:none": 9})
    before = _calls(live.waiting.redis)
    live.assert_current()
    done = _difference(before, _calls(live.waiting.redis))
    # The script reads the counts of two products; the join reads those of all at once.
    assert (done["cmdstat_eval_ro"], done["cmdstat_pttl"], done["cmdstat_mget"]) == (1, 2, 2 + 1)


def test_what_changes_shows_in_the_next_answer(live: Live) -> None:
    client = live.waiting.redis
    etags = {live.assert_current().etag}

    def changed() -> None:
        etag = live.assert_current().etag
        assert etag not in etags
        etags.add(etag)

    client.set("stock:1", 100)
    changed()
    Stock.of(live.waiting).reserve({1: 2, 2: 1})
    changed()
    assert (live.product(1)["stock"], live.product(2)["stock"]) == ("98", "1")
    client.delete("stock:5")
    changed()
    client.set("stock:5", 7)
    changed()
    client.lpush("stock:20", 1)  # which is no count
    assert live.assert_current().etag in etags
    set_price(live.waiting, 3, Decimal("99.90"))
    live.model.catch_up()
    changed()
    live.waiting.mongo.productmetas.update_one({"product_id": 4}, {"$set": {"description": "New"}})
    live.model.catch_up()
    changed()
    delete_product(live.waiting, 6)
    insert_product(live.waiting, 21, "lamp", ["new"])
    insert_product(live.waiting, -1, "lamp", [])
    announce(client, [6, 21])
    live.model.rebuild()
    changed()
    assert live.read().count == 21


def test_what_is_written_as_it_was_changes_nothing(live: Live) -> None:
    found = live.read()
    live.waiting.redis.set("stock:1", 1)
    live.model.rebuild()
    assert live.read() is found
    live.waiting.redis.set("stock:1", 2)
    assert live.read().etag != found.etag
    live.waiting.redis.set("stock:1", 1)
    assert live.read() == found


def test_it_says_how_far_the_views_are_behind_and_no_less(live: Live) -> None:
    found = live.assert_current()
    set_price(live.waiting, 1, Decimal(7))
    set_price(live.waiting, 2, Decimal(8))
    behind = live.read()
    assert behind == replace(found, behind=2)
    assert (behind.applied, found.applied) == (0, 0)
    assert behind.body is found.body
    live.model.catch_up()
    assert live.assert_current().applied == 2


ANEW = pytest.mark.parametrize(
    "anew",
    [
        pytest.param(False, id="what was named"),
        pytest.param(True, id="everything", marks=pytest.mark.verify),
    ],
)


@pytest.fixture
def moments(live: Live, monkeypatch: pytest.MonkeyPatch) -> Moments:
    return Moments(live, monkeypatch)


@ANEW
def test_whenever_the_keeper_works_the_views_are_as_new_as_is_said_of_them(
    live: Live, moments: Moments, anew: bool
) -> None:
    def change() -> int:
        number = 1000 + moments.moment
        version = set_price(live.waiting, 1, Decimal(number))
        live.waiting.redis.set("stock:1", number)
        live.model.catch_up()
        return version

    for _ in moments:
        if anew:
            live.waiting.redis.flushdb()
        set_price(live.waiting, 2, Decimal(1000 + moments.moment))
        live.model.catch_up()
        found, version = moments.read(change)
        price = orjson.loads(found.body)[0]["price"]
        assert version is None or found.applied < version or price == str(1000 + moments.moment)
        live.assert_current()


@ANEW
def test_whenever_the_server_refuses_what_was_to_be_read_is_read_the_next_time(
    live: Live, moments: Moments, anew: bool
) -> None:
    def refuse() -> None:
        raise redis.ResponseError("BUSY")

    for _ in moments:
        if anew:
            live.waiting.redis.flushdb()
        if moments.moment % 2:
            insert_product(live.waiting, 20, "lamp", [])
        else:
            delete_product(live.waiting, 20)
        announce(live.waiting.redis, [20])
        live.waiting.redis.set("stock:1", 1000 + moments.moment)
        live.model.catch_up()
        with contextlib.suppress(redis.ResponseError):  # raised for all moments but the last
            moments.read(refuse)
        assert len(connections(live.waiting.redis)) == 1
        live.assert_current()


@ANEW
def test_whenever_the_views_are_lost_those_that_are_left_do_not_pass_for_all(
    live: Live, moments: Moments, anew: bool
) -> None:
    for _ in moments:
        if anew:
            live.waiting.redis.flushdb()
            live.model.catch_up()
        else:
            set_price(live.waiting, 2, Decimal(1000 + moments.moment))
            live.model.catch_up()
        found, _ = moments.read(live.waiting.redis.flushdb)
        assert found.count == 20 or not found.complete
        live.model.catch_up()
        live.assert_current()


def test_a_count_that_expires_is_gone_when_its_life_is_over(live: Live) -> None:
    client = live.waiting.redis
    # So that it is not the server that clears it away by itself, and tells of it.
    debug: Any = client.execute_command
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    seconds, microseconds = client.time()
    end = 1000 * seconds + microseconds // 1000 + 300
    client.set("stock:1", 5, pxat=end)
    client.set("stock:2", 6, px=100_000)
    assert [live.product(one)["stock"] for one in (1, 2)] == ["5", "6"]
    while (1000 * seconds + microseconds // 1000) <= end:
        seconds, microseconds = client.time()
    assert [live.product(one)["stock"] for one in (1, 2)] == [None, "6"]
    live.assert_current()
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def test_views_that_were_lost_are_said_to_be_incomplete_until_a_keeper_made_them(
    live: Live,
) -> None:
    live.read()
    live.waiting.redis.flushdb()
    lost = live.read()
    assert (lost.body, lost.count, lost.behind, lost.complete) == (b"[]", 0, 0, False)
    assert repr(lost) == "<LiveList of 0 products, 0 behind, incomplete>"
    live.model.catch_up()
    assert live.assert_current().count == 20


def test_another_database_that_is_emptied_changes_nothing(
    live: Live, spare: TemporaryValkey
) -> None:
    found = live.read()
    with redis.Redis.from_url(spare.url.removesuffix("/0") + "/5") as other:
        other.mset({"stock:1": 99, "shop:view:1": "no view"})
        assert live.assert_current() == found
        other.flushdb()
        assert live.assert_current() == found


def test_a_view_that_is_none_is_named_until_it_is_made_anew(live: Live) -> None:
    live.read()
    live.waiting.redis.set("stock:3", 9)
    live.waiting.redis.set("shop:view:3", "{}")
    for _ in range(2):
        with pytest.raises(ReadModelError, match="view of product 3"):
            live.read()
    live.model.rebuild()
    assert live.assert_current().count == 20


def test_the_ledger_says_the_counts_that_redis_does_not_have(
    both: Both, live_stores: tuple[Stores, AsyncStores]
) -> None:
    waiting, awaited = live_stores
    asked: list[list[int]] = []
    ledger: dict[int, int | None] = {19: 190, 20: None, 1: -4}

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        asked.append(sorted(ids))
        if 2 in ids:
            raise psycopg.OperationalError("the ledger does not answer")
        return ledger

    async def stocks(views: LiveViews) -> dict[int, str | None]:
        products = orjson.loads((await views.read()).body)
        return {one["id"]: one["stock"] for one in products}

    async def main() -> None:
        views = LiveViews(awaited, fill=fill)
        try:
            found = await stocks(views)
            assert (found[18], found[19], found[20]) == ("0", "190", None)
            waiting.redis.delete("stock:1")
            assert (await stocks(views))[1] == "0"
            assert asked[:2] == [[19, 20], [1]]
            # A ledger that fails is the reader's to hear of, and is asked again the next time.
            waiting.redis.delete("stock:2")
            for _ in range(2):
                with pytest.raises(psycopg.OperationalError, match="does not answer"):
                    await stocks(views)
            waiting.redis.set("stock:2", 22)
            assert (await stocks(views))[2] == "22"
            # Nobody tells when the ledger knows a product: it is asked again after some time.
            ledger[20] = 200
            while (await stocks(views))[20] is None:
                await asyncio.sleep(0.05)
            assert [19, 20] in [one[-2:] for one in asked[2:]]
        finally:
            await views.aclose()

    with ReadModel(waiting) as model:
        model.rebuild()
    both.runner.run(main())
