"""Requests as a service makes them: traced, within a time, and without a store that is down."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from helpers.catalog.model import stock_key
from helpers.errors import CircuitOpenError, StockError, StoreError, StoreName
from helpers.joins import strategies
from helpers.joins.async_executor import AsyncFill, drive_async
from helpers.joins.requests import FillStock
from helpers.joins.resilient_executor import ResilientExecutor
from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, Limits, connect_beside
from helpers.stores.bounded_waits import wait_at_most
from helpers.stores.circuit_breaker import Breakers
from helpers.stores.proxied_stores import ProxiedStores
from helpers.stores.time_budgets import Budgets
from helpers.stores.trace import Trace
from tests.sharing import restored
from tests.snapshots import filled_shop
from tests.waiting import come

IDS = [1, 2, 3]
_SHORT = Limits(wait_seconds=1.0, answer_seconds=30.0)


def _fill(stores: Stores) -> None:
    seed(stores, 3, orders=False)


@pytest.fixture
def far(shared: Stores, proxied_stores: ProxiedStores) -> Iterator[ProxiedStores]:
    """A shop of three products, behind links that can be cut and frozen."""
    filled_shop(shared, _fill)
    with restored(proxied_stores) as found:
        yield found


def _short_for(broken: str) -> Budgets:
    """Give little time to the store that does not answer, and much to the others."""
    return dataclasses.replace(Budgets(30, 30, 30), **{broken: 0.3})


def _ask(
    far: Stores,
    needed: Sequence[StoreName] = ("PostgreSQL",),
    *,
    broken: str = "",
    how: str = "cut",
    seconds: Budgets | float = 5.0,
    fill: AsyncFill | None = None,
    breakers: Breakers | None = None,
) -> tuple[list[Any], set[StoreName], Trace]:
    """Join three products; the link called ``broken`` is cut, or frozen, before."""

    async def main() -> tuple[list[Any], set[StoreName], Trace]:
        assert isinstance(far, ProxiedStores)
        async with await connect_beside(far, limits=_SHORT) as stores:
            if broken:
                getattr(getattr(far.proxies, broken), how)()
            trace = Trace()
            asking = ResilientExecutor(
                stores, trace=trace, seconds=seconds, needed=needed, fill=fill, breakers=breakers
            )
            try:
                products = await drive_async(strategies.at_once(IDS), asking)
            finally:
                if broken:
                    getattr(far.proxies, broken).restore()
            return products, asking.missing, trace

    return asyncio.run(main())


def test_each_question_is_noted(far: ProxiedStores) -> None:
    products, missing, trace = _ask(far)
    assert [one["stock"] for one in products] == ["15", "8", "22"]
    assert missing == set()
    assert sorted((span.store, span.name) for span in trace.spans) == [
        ("MongoDB", "find"),
        ("PostgreSQL", "SELECT"),
        ("Redis", "MGET"),
    ]
    assert all(span.end_seconds > span.start_seconds for span in trace.spans)


@pytest.mark.parametrize(
    ("broken", "store", "how"),
    [
        ("mongo", "MongoDB", "freeze"),
        ("redis", "Redis", "cut"),
        pytest.param("mongo", "MongoDB", "cut", marks=pytest.mark.verify),
        pytest.param("redis", "Redis", "freeze", marks=pytest.mark.verify),
    ],
)
def test_what_is_not_needed_may_be_missing(
    far: ProxiedStores, broken: str, store: StoreName, how: str
) -> None:
    products, missing, _ = _ask(far, broken=broken, how=how, seconds=_short_for(broken))
    assert missing == {store}
    assert [one["name"] for one in products] == ["Laptop A", "Phone B", "Tablet C"]
    for one in products:
        assert (one["metadata"] is None) is (store == "MongoDB")
        assert (one["stock"] is None) is (store == "Redis")


@pytest.mark.parametrize(
    ("broken", "store", "how"),
    [
        ("postgres", "PostgreSQL", "freeze"),
        ("mongo", "MongoDB", "cut"),
        pytest.param("postgres", "PostgreSQL", "cut", marks=pytest.mark.verify),
        pytest.param("mongo", "MongoDB", "freeze", marks=pytest.mark.verify),
        pytest.param("redis", "Redis", "cut", marks=pytest.mark.verify),
        pytest.param("redis", "Redis", "freeze", marks=pytest.mark.verify),
    ],
)
def test_what_is_needed_is_an_error_of_ours_that_names_the_store(
    far: ProxiedStores, broken: str, store: StoreName, how: str
) -> None:
    with pytest.raises(StoreError) as failed:
        _ask(
            far,
            ["PostgreSQL", "MongoDB", "Redis"],
            broken=broken,
            how=how,
            seconds=_short_for(broken),
        )
    assert failed.value.store == store
    assert str(failed.value).startswith(f"{store} at ")


def test_counts_that_are_not_there_are_asked_of_the_ledger(far: ProxiedStores) -> None:
    far.redis.delete(stock_key(2))
    asked = []

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        asked.append(list(ids))
        return {2: 8}

    products, _, trace = _ask(far, fill=fill)
    assert [one["stock"] for one in products] == ["15", "8", "22"]
    assert asked == [[2]]
    assert "ledger" in [span.name for span in trace.spans]


def test_where_redis_is_away_nobody_asks_the_ledger_for_all_counts(far: ProxiedStores) -> None:
    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        raise AssertionError(ids)

    products, missing, _ = _ask(far, broken="redis", fill=fill)
    assert missing == {"Redis"}
    assert [one["stock"] for one in products] == [None] * 3


def test_a_ledger_that_does_not_answer_leaves_counts_unknown(far: ProxiedStores) -> None:
    far.redis.delete(stock_key(2))

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        raise StockError("others are reading it")

    products, missing, _ = _ask(far, fill=fill)
    assert [one["stock"] for one in products] == ["15", None, "22"]
    assert missing == set()


def test_a_store_whose_breaker_is_open_is_not_asked(far: ProxiedStores) -> None:
    breakers = Breakers.of(far.addresses)
    for _ in range(5):
        breakers.redis.begin().end("fail")
    products, missing, trace = _ask(far, breakers=breakers)
    assert missing == {"Redis"}
    assert [one["stock"] for one in products] == [None] * 3
    assert "Redis" not in [span.store for span in trace.spans]
    with pytest.raises(CircuitOpenError, match="it failed 5 times in a row") as refused:
        _ask(far, ["PostgreSQL", "Redis"], breakers=breakers)
    assert refused.value.store == "Redis"


@pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
def test_each_question_without_an_answer_counts_for_the_breaker(
    far: ProxiedStores, how: str
) -> None:
    breakers = Breakers.of(far.addresses)
    for number in (1, 2):
        _ask(far, broken="mongo", how=how, seconds=Budgets(30, 0.5, 30), breakers=breakers)
        assert breakers.mongo.view().failures == number
    assert (breakers.postgres.view().failures, breakers.redis.view().failures) == (0, 0)
    _ask(far, breakers=breakers)
    assert breakers.mongo.view().failures == 0


def test_who_is_missing_is_not_asked_again(far: ProxiedStores) -> None:
    async def main() -> None:
        async with await connect_beside(far, limits=_SHORT) as stores:
            far.proxies.mongo.cut()
            trace = Trace()
            asking = ResilientExecutor(stores, trace=trace, seconds=_short_for("mongo"))
            for _ in range(3):
                await drive_async(strategies.at_once(IDS), asking)
            assert [span.store for span in trace.spans].count("MongoDB") == 1
            far.proxies.mongo.restore()

    asyncio.run(main())


def test_where_postgresql_is_left_alone_the_ledger_is_too(far: ProxiedStores) -> None:
    breakers = Breakers.of(far.addresses)
    far.redis.delete(stock_key(2))

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        raise AssertionError(ids)

    async def main() -> Any:
        async with await connect_beside(far, limits=_SHORT) as stores:
            asking = ResilientExecutor(
                stores, trace=Trace(), seconds=5.0, fill=fill, breakers=breakers
            )
            for _ in range(5):
                breakers.postgres.begin().end("fail")
            return await asking(FillStock([2]))

    assert asyncio.run(main()) == {}


def test_what_takes_too_long_is_given_up_without_waiting_for_it() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def stubborn() -> None:
            """Goes on when it is cancelled, as drivers do that wait for a silent server."""
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await ended.wait()
                raise RuntimeError("nobody hears this") from None

        with pytest.raises(TimeoutError):
            await wait_at_most(stubborn(), 0.01)
        caller = asyncio.ensure_future(wait_at_most(stubborn(), 3600))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        ended.set()
        await come(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())


def test_a_request_that_no_store_answers_is_a_mistake_of_the_program(far: ProxiedStores) -> None:
    async def main(stores: AsyncStores) -> None:
        @dataclasses.dataclass(frozen=True)
        class Unknown:
            pass

        with pytest.raises(KeyError):
            await ResilientExecutor(stores, trace=Trace(), seconds=1)(Unknown())  # type: ignore[arg-type]

    async def connected() -> None:
        async with await connect_beside(far) as stores:
            await main(stores)

    asyncio.run(connected())
