"""The live list is the join's answer, never older than its question, and one object until then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

import orjson
import psycopg
import pytest
import redis
from redis import asyncio as aioredis

from helpers.errors import ReadModelError
from helpers.network.link import Link
from helpers.servers.spare import SpareValkey, spare_valkey
from helpers.shop.joins import batched, products_json
from helpers.shop.live_views import LiveList, LiveViews
from helpers.shop.product_changes import VERSION, announce, set_price
from helpers.shop.read_model import ReadModel
from helpers.shop.stock import Stock
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.key_changes import Answered, KeyChanges
from tests.joins.conftest import Both
from tests.joins.filling import delete_product, insert_product, put
from tests.joins.memory import MemoryStores

T = TypeVar("T")

# On a server of our own: what it tells and counts is of our doing alone.
pytestmark = pytest.mark.servers

SHOP = MemoryStores(
    {one: (f"Product {one}", f"{one}.50", "lamp") for one in range(1, 21)},
    [{"product_id": one, "description": f"D {one}", "tags": ["ä"]} for one in range(1, 16)],
    {one: b"%d" % one for one in range(1, 18)} | {18: b"-3", 19: b"many"},
)


@dataclass(frozen=True)
class Shop:
    """One shop for waiting and for awaiting, its keeper, its live views and what runs them."""

    waiting: Stores
    awaited: AsyncStores
    model: ReadModel
    views: LiveViews
    runner: asyncio.Runner

    def read(self) -> LiveList:
        return self.runner.run(self.views.read())

    def assert_current(self) -> LiveList:
        """Assert that the list is byte for byte what the join answers, and return it."""
        found = self.read()
        assert found.body == products_json(batched(self.waiting))
        version = int(self.waiting.redis.get(VERSION) or 0)
        assert (found.applied, found.behind, found.complete) == (version, 0, True)
        assert found.count == len(orjson.loads(found.body))
        return found

    def product(self, product_id: int) -> dict[str, Any]:
        products = orjson.loads(self.read().body)
        (found,) = (one for one in products if one["id"] == product_id)
        return dict(found)


@pytest.fixture(scope="module")
def spare() -> Iterator[SpareValkey]:
    with spare_valkey(settings={"enable-debug-command": "local"}) as server:
        yield server


@pytest.fixture
def stores(both: Both, spare: SpareValkey) -> Iterator[tuple[Stores, AsyncStores]]:
    """The shop, its counts and views on the spare server."""
    client = redis.Redis.from_url(spare.url, decode_responses=True)
    awaited = aioredis.Redis.from_url(spare.url, decode_responses=True)
    waiting = replace(both.waiting, redis=client)
    client.flushall()
    put(waiting, SHOP)
    yield waiting, replace(both.awaited, redis=awaited)
    both.runner.run(awaited.aclose())
    client.close()


@pytest.fixture
def shop(both: Both, stores: tuple[Stores, AsyncStores]) -> Iterator[Shop]:
    waiting, awaited = stores
    views = LiveViews(awaited)
    with ReadModel(waiting) as model:
        model.rebuild()
        yield Shop(waiting, awaited, model, views, both.runner)
    both.runner.run(views.aclose())


class Moments:
    """One moment of a read after the other: just before each command that it sends."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shop = shop
        self._monkeypatch = monkeypatch
        self._sent = 0
        self.moment = 0

    def __iter__(self) -> Iterator[int]:
        """Go on as long as a read sends so many commands."""
        while self._sent >= self.moment:
            self._shop.read()
            yield self.moment
            self.moment += 1
        assert self.moment > 4

    def read(self, change: Callable[[], T]) -> tuple[LiveList, T | None]:
        """Read, with a change in this moment; return both answers (``None``: there was none)."""
        send = KeyChanges._send
        changed: list[T] = []
        self._sent = 0

        def hooked(keys: KeyChanges, command: bytes, answered: Answered) -> None:
            if self._sent == self.moment:
                changed.append(change())
            self._sent += 1
            send(keys, command, answered)

        with self._monkeypatch.context() as patched:
            patched.setattr(KeyChanges, "_send", hooked)
            found = self._shop.read()
        return found, changed[0] if changed else None


def _calls(client: redis.Redis) -> dict[str, int]:
    """Return how often each command was called, but for those of this question."""
    stats: Any = client.info("commandstats")
    return {name: one["calls"] for name, one in stats.items() if name != "cmdstat_info"}


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


def test_the_list_is_byte_for_byte_what_the_join_answers(shop: Shop) -> None:
    found = shop.assert_current()
    assert found.count == 20
    assert [shop.product(one)["stock"] for one in (17, 18, 19, 20)] == ["17", "0", None, None]


def test_while_nothing_changes_a_read_is_one_ping_and_the_same_object(shop: Shop) -> None:
    found = shop.read()
    before = _calls(shop.waiting.redis)
    for _ in range(10):
        assert shop.read() is found
    after = _calls(shop.waiting.redis)
    assert _difference(before, after) == {"cmdstat_ping": 10}


def test_those_who_come_together_share_a_check_but_never_one_that_was_sent_before(
    shop: Shop,
) -> None:
    async def together() -> list[LiveList]:
        return await asyncio.gather(*(shop.views.read() for _ in range(16)))

    found = shop.read()
    before = _calls(shop.waiting.redis)
    answers = shop.runner.run(together())
    assert all(one is found for one in answers)
    # The first of them sends one. The others come after it was sent.
    assert _difference(before, _calls(shop.waiting.redis)) == {"cmdstat_ping": 2}


def test_only_what_was_named_is_read_again(shop: Shop) -> None:
    shop.read()
    shop.waiting.redis.mset({"stock:3": 33, "stock:4": 44, "stock:999": 9, "stock:none": 9})
    before = _calls(shop.waiting.redis)
    shop.assert_current()
    done = _difference(before, _calls(shop.waiting.redis))
    # The script reads the counts of two products; the join reads those of all at once.
    assert (done["cmdstat_eval_ro"], done["cmdstat_pttl"], done["cmdstat_mget"]) == (1, 2, 2 + 1)


def test_what_changes_shows_in_the_next_answer(shop: Shop) -> None:
    client = shop.waiting.redis
    etags = {shop.assert_current().etag}

    def changed() -> None:
        etag = shop.assert_current().etag
        assert etag not in etags
        etags.add(etag)

    client.set("stock:1", 100)
    changed()
    Stock.of(shop.waiting).reserve({1: 2, 2: 1})
    changed()
    assert (shop.product(1)["stock"], shop.product(2)["stock"]) == ("98", "1")
    client.delete("stock:5")
    changed()
    client.set("stock:5", 7)
    changed()
    client.lpush("stock:20", 1)  # which is no count
    assert shop.assert_current().etag in etags
    set_price(shop.waiting, 3, Decimal("99.90"))
    shop.model.catch_up()
    changed()
    shop.waiting.mongo.productmetas.update_one({"product_id": 4}, {"$set": {"description": "New"}})
    shop.model.catch_up()
    changed()
    delete_product(shop.waiting, 6)
    insert_product(shop.waiting, 21, "lamp", ["new"])
    insert_product(shop.waiting, -1, "lamp", [])
    announce(client, [6, 21])
    shop.model.rebuild()
    changed()
    assert shop.read().count == 21


def test_what_is_written_as_it_was_changes_nothing(shop: Shop) -> None:
    found = shop.read()
    shop.waiting.redis.set("stock:1", 1)
    shop.model.rebuild()
    assert shop.read() is found
    shop.waiting.redis.set("stock:1", 2)
    assert shop.read().etag != found.etag
    shop.waiting.redis.set("stock:1", 1)
    assert shop.read() == found


def test_it_says_how_far_the_views_are_behind_and_no_less(shop: Shop) -> None:
    found = shop.assert_current()
    set_price(shop.waiting, 1, Decimal(7))
    set_price(shop.waiting, 2, Decimal(8))
    behind = shop.read()
    assert behind == replace(found, behind=2)
    assert (behind.applied, found.applied) == (0, 0)
    assert behind.body is found.body
    shop.model.catch_up()
    assert shop.assert_current().applied == 2


@pytest.fixture
def moments(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Moments:
    return Moments(shop, monkeypatch)


@pytest.mark.parametrize("anew", [False, True], ids=["what was named", "everything"])
def test_whenever_the_keeper_works_the_views_are_as_new_as_is_said_of_them(
    shop: Shop, moments: Moments, anew: bool
) -> None:
    def change() -> int:
        number = 1000 + moments.moment
        version = set_price(shop.waiting, 1, Decimal(number))
        shop.waiting.redis.set("stock:1", number)
        shop.model.catch_up()
        return version

    for _ in moments:
        if anew:
            shop.waiting.redis.flushdb()
        set_price(shop.waiting, 2, Decimal(1000 + moments.moment))
        shop.model.catch_up()
        found, version = moments.read(change)
        price = orjson.loads(found.body)[0]["price"]
        assert version is None or found.applied < version or price == str(1000 + moments.moment)
        shop.assert_current()


@pytest.mark.parametrize("anew", [False, True], ids=["what was named", "everything"])
def test_whenever_the_views_are_lost_those_that_are_left_do_not_pass_for_all(
    shop: Shop, moments: Moments, anew: bool
) -> None:
    for _ in moments:
        if anew:
            shop.waiting.redis.flushdb()
            shop.model.catch_up()
        else:
            set_price(shop.waiting, 2, Decimal(1000 + moments.moment))
            shop.model.catch_up()
        found, _ = moments.read(shop.waiting.redis.flushdb)
        assert found.count == 20 or not found.complete
        shop.model.catch_up()
        shop.assert_current()


def test_a_count_that_expires_is_gone_when_its_life_is_over(shop: Shop) -> None:
    client = shop.waiting.redis
    # So that it is not the server that clears it away by itself, and tells of it.
    debug: Any = client.execute_command
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    seconds, microseconds = client.time()
    end = 1000 * seconds + microseconds // 1000 + 300
    client.set("stock:1", 5, pxat=end)
    client.set("stock:2", 6, px=100_000)
    assert [shop.product(one)["stock"] for one in (1, 2)] == ["5", "6"]
    while (1000 * seconds + microseconds // 1000) <= end:
        seconds, microseconds = client.time()
    assert [shop.product(one)["stock"] for one in (1, 2)] == [None, "6"]
    shop.assert_current()
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def test_views_that_were_lost_are_said_to_be_incomplete_until_a_keeper_made_them(
    shop: Shop,
) -> None:
    shop.read()
    shop.waiting.redis.flushdb()
    lost = shop.read()
    assert (lost.body, lost.count, lost.behind, lost.complete) == (b"[]", 0, 0, False)
    assert repr(lost) == "<LiveList of 0 products, 0 behind, incomplete>"
    shop.model.catch_up()
    assert shop.assert_current().count == 20


def test_another_database_that_is_emptied_changes_nothing(shop: Shop, spare: SpareValkey) -> None:
    found = shop.read()
    with redis.Redis.from_url(spare.url.removesuffix("/0") + "/5") as other:
        other.mset({"stock:1": 99, "shop:view:1": "no view"})
        assert shop.assert_current() == found
        other.flushdb()
        assert shop.assert_current() == found


def test_a_view_that_is_none_is_named_until_it_is_made_anew(shop: Shop) -> None:
    shop.read()
    shop.waiting.redis.set("stock:3", 9)
    shop.waiting.redis.set("shop:view:3", "{}")
    for _ in range(2):
        with pytest.raises(ReadModelError, match="view of product 3"):
            shop.read()
    shop.model.rebuild()
    assert shop.assert_current().count == 20


def test_the_ledger_says_the_counts_that_redis_does_not_have(
    both: Both, stores: tuple[Stores, AsyncStores]
) -> None:
    waiting, awaited = stores
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


# Connections.


def _connections(client: redis.Redis) -> list[str]:
    return [one["id"] for one in client.client_list() if one["name"] == "key-changes"]


def test_it_has_one_connection_and_none_when_it_is_closed(shop: Shop) -> None:
    client = shop.waiting.redis
    assert _connections(client) == []
    before = len(client.client_list())
    shop.read()
    assert len(client.client_list()) == before + 1
    assert len(_connections(client)) == 1
    shop.runner.run(shop.views.aclose())
    shop.runner.run(shop.views.aclose())
    while len(client.client_list()) > before:  # the server has yet to notice
        pass
    with pytest.raises(redis.ConnectionError, match="no longer read"):
        shop.read()


def test_who_waits_while_it_is_closed_is_told(shop: Shop) -> None:
    async def main(turns: int) -> None:
        views = LiveViews(shop.awaited)
        if turns % 2:
            await views.read()
        readers = [asyncio.create_task(views.read()) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        late = asyncio.create_task(views.read())
        await asyncio.sleep(0)
        await views.aclose()
        found = await asyncio.gather(*readers, late, return_exceptions=True)
        assert all(isinstance(one, LiveList | redis.ConnectionError) for one in found)

    for turns in range(30):
        shop.runner.run(main(turns))
    while _connections(shop.waiting.redis):
        pass


def test_a_connection_that_was_killed_is_opened_anew_and_nothing_is_missed(shop: Shop) -> None:
    shop.read()
    client = shop.waiting.redis
    for number in range(5):
        (connection,) = _connections(client)
        client.client_kill_filter(_id=connection)
        client.set("stock:1", 1000 + number)
        assert shop.product(1)["stock"] == str(1000 + number)
        shop.assert_current()
        assert len(_connections(client)) == 1


@pytest.fixture
def link(spare: SpareValkey) -> Iterator[Link]:
    link = Link(spare.url)
    yield link
    link.close()


@contextlib.contextmanager
def _through(shop: Shop, link: Link, seconds: float) -> Iterator[LiveViews]:
    """Views whose connection leads through ``link``."""
    awaited = aioredis.Redis.from_url(link.url, decode_responses=True, socket_timeout=seconds)
    views = LiveViews(replace(shop.awaited, redis=awaited))
    yield views
    shop.runner.run(views.aclose())
    shop.runner.run(awaited.aclose())


def test_a_silent_server_is_waited_for_no_longer_than_that_and_then_read_anew(
    shop: Shop, link: Link
) -> None:
    async def main(views: LiveViews) -> None:
        await views.read()
        link.freeze()
        shop.waiting.redis.set("stock:1", 77)
        found = await asyncio.gather(*(views.read() for _ in range(3)), return_exceptions=True)
        # The first is late; the others' check opens a connection, which is late as well.
        assert [type(one) for one in found] == [redis.TimeoutError] * 3
        link.restore()
        assert (await views.read()).body == products_json(batched(shop.waiting))

    with _through(shop, link, seconds=0.2) as views:
        shop.runner.run(main(views))


def test_a_server_that_cannot_be_reached_is_tried_once_more_and_then_said(
    shop: Shop, link: Link
) -> None:
    async def main(views: LiveViews) -> None:
        await views.read()
        link.cut()
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                await views.read()
        link.restore()
        assert (await views.read()).body == products_json(batched(shop.waiting))

    with _through(shop, link, seconds=60) as views:
        shop.runner.run(main(views))


def test_a_server_that_was_killed_and_started_again_is_read_anew(
    shop: Shop, spare: SpareValkey
) -> None:
    shop.read()
    for number in range(2):
        spare.kill()
        spare.start()
        shop.waiting.redis.set("stock:1", 500 + number)
        assert shop.product(1)["stock"] == str(500 + number)
        shop.assert_current()
    spare.kill()
    with pytest.raises(redis.ConnectionError, match="Connection refused"):
        shop.read()
    spare.start()
    shop.assert_current()


def test_a_reader_who_is_cancelled_at_any_time_harms_nobody(shop: Shop) -> None:
    async def main(turns: int) -> None:
        shop.waiting.redis.set("stock:1", turns)  # so that there is something to read
        readers = [asyncio.create_task(shop.views.read()) for _ in range(6)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for one in readers[::2]:
            one.cancel()
        found = await asyncio.gather(*readers[1::2])
        assert all(orjson.loads(one.body)[0]["stock"] == str(turns) for one in found)
        assert all(one.done() for one in readers)

    shop.read()
    for turns in range(40):
        shop.runner.run(main(turns))
    shop.assert_current()
    assert len(_connections(shop.waiting.redis)) == 1


def test_when_all_readers_are_cancelled_the_next_one_is_served(shop: Shop) -> None:
    async def main(turns: int) -> None:
        views = LiveViews(shop.awaited)
        readers = [asyncio.create_task(views.read()) for _ in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for one in readers:
            one.cancel()
        await asyncio.wait(readers)
        assert (await views.read()).count == 20
        await views.aclose()

    for turns in range(20):
        shop.runner.run(main(turns))
