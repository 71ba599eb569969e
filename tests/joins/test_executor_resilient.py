"""The resilient executor: traces, time limits, circuit breakers and missing stores."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from helpers.catalog.model import stock_key
from helpers.errors import CircuitOpenError, StockError, StoreError, StoreName
from helpers.joins import Query, count_values, strategies
from helpers.joins.driver_adapters import AsyncFill
from helpers.joins.executor import ResilientExecutor, SearchLimits
from helpers.joins.pages import find_page
from helpers.joins.requests import FillStock, Request
from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, Limits
from helpers.stores.bounded_waits import wait_at_most
from helpers.stores.circuit_breaker import Breakers, breakers_of
from helpers.stores.connection_limits import Budgets
from helpers.stores.proxied_stores import ProxiedStores
from helpers.stores.trace import STORES, Trace
from tests.connections import connect_async_again
from tests.shared_proxies import restored
from tests.snapshots import filled_shop
from tests.waiting import come

IDS = [1, 2, 3]
_SHORT = Limits(wait_seconds=1.0, answer_seconds=30.0)


def _fill(stores: Stores) -> None:
    seed(stores, 3, orders=False)


@pytest.fixture
def far(shared: Stores, proxied_stores: ProxiedStores) -> Iterator[ProxiedStores]:
    """A shop of three products, behind proxies."""
    filled_shop(shared, _fill)
    with restored(proxied_stores) as found:
        yield found


def _short_for(broken: str) -> Budgets:
    """Return a short limit for the store that is unavailable, and long ones for the others."""
    names = {"postgres": "PostgreSQL", "mongo": "MongoDB", "redis": "Redis"}
    return {store: 0.3 if store == names[broken] else 30 for store in STORES}


def _join(
    far: Stores,
    needed: Sequence[StoreName] = ("PostgreSQL",),
    *,
    broken: str = "",
    how: str = "cut",
    seconds: Budgets | float = 5.0,
    fill: AsyncFill | None = None,
    breakers: Breakers | None = None,
) -> tuple[list[Any], set[StoreName], Trace]:
    """Join three products after cutting or freezing the proxy called ``broken``."""

    async def main() -> tuple[list[Any], set[StoreName], Trace]:
        assert isinstance(far, ProxiedStores)
        async with await connect_async_again(far, limits=_SHORT) as stores:
            if broken:
                getattr(getattr(far.proxies, broken), how)()
            trace = Trace()
            executor = ResilientExecutor(
                stores, trace=trace, seconds=seconds, needed=needed, fill=fill, breakers=breakers
            )
            try:
                products = await executor.run(strategies.at_once(IDS))
            finally:
                if broken:
                    getattr(far.proxies, broken).restore()
            return products, executor.missing, trace

    return asyncio.run(main())


def test_each_request_is_traced(far: ProxiedStores) -> None:
    products, missing, trace = _join(far)
    assert [product["stock"] for product in products] == ["15", "8", "22"]
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
def test_a_store_that_is_not_needed_may_be_missing(
    far: ProxiedStores, broken: str, store: StoreName, how: str
) -> None:
    products, missing, _ = _join(far, broken=broken, how=how, seconds=_short_for(broken))
    assert missing == {store}
    assert [product["name"] for product in products] == ["Laptop A", "Phone B", "Tablet C"]
    for product in products:
        assert (product["metadata"] is None) is (store == "MongoDB")
        assert (product["stock"] is None) is (store == "Redis")


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
def test_a_needed_store_that_is_unavailable_raises_a_store_error(
    far: ProxiedStores, broken: str, store: StoreName, how: str
) -> None:
    with pytest.raises(StoreError) as failed:
        _join(
            far,
            ["PostgreSQL", "MongoDB", "Redis"],
            broken=broken,
            how=how,
            seconds=_short_for(broken),
        )
    assert failed.value.store == store
    assert str(failed.value).startswith(f"{store} at ")


def test_missing_stock_counts_are_read_from_the_ledger(far: ProxiedStores) -> None:
    far.redis.delete(stock_key(2))
    requested = []

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        requested.append(list(ids))
        return {2: 8}

    products, _, trace = _join(far, fill=fill)
    assert [product["stock"] for product in products] == ["15", "8", "22"]
    assert requested == [[2]]
    assert "ledger" in [span.name for span in trace.spans]


def test_without_redis_the_ledger_is_not_read(far: ProxiedStores) -> None:
    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        raise AssertionError(ids)

    products, missing, _ = _join(far, broken="redis", fill=fill)
    assert missing == {"Redis"}
    assert [product["stock"] for product in products] == [None] * 3


def test_an_error_of_the_ledger_leaves_stock_counts_unknown(far: ProxiedStores) -> None:
    far.redis.delete(stock_key(2))

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        raise StockError("too many concurrent readers")

    products, missing, _ = _join(far, fill=fill)
    assert [product["stock"] for product in products] == ["15", None, "22"]
    assert missing == set()


def test_no_request_is_sent_while_the_circuit_is_open(far: ProxiedStores) -> None:
    breakers = breakers_of(far.addresses)
    for _ in range(5):
        breakers["Redis"].begin()("fail")
    products, missing, trace = _join(far, breakers=breakers)
    assert missing == {"Redis"}
    assert [product["stock"] for product in products] == [None] * 3
    assert "Redis" not in [span.store for span in trace.spans]
    with pytest.raises(CircuitOpenError, match="it failed 5 times in a row") as refused:
        _join(far, ["PostgreSQL", "Redis"], breakers=breakers)
    assert refused.value.store == "Redis"


@pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
def test_each_failed_request_counts_for_the_circuit_breaker(far: ProxiedStores, how: str) -> None:
    breakers = breakers_of(far.addresses)
    for number in (1, 2):
        _join(
            far,
            broken="mongo",
            how=how,
            seconds=_short_for("mongo"),
            breakers=breakers,
        )
        assert breakers["MongoDB"].view().failures == number
    assert (breakers["PostgreSQL"].view().failures, breakers["Redis"].view().failures) == (0, 0)
    _join(far, breakers=breakers)
    assert breakers["MongoDB"].view().failures == 0


def test_searches_that_time_out_say_nothing_about_lookups(far: ProxiedStores) -> None:
    """Their circuit opens; a document is still looked up by its product's id."""

    async def main() -> None:
        breakers, slots = breakers_of(far.addresses), asyncio.Semaphore(1)
        breaker = breakers_of(far.addresses)["MongoDB"]
        async with await connect_async_again(far) as stores:

            def executor(search_seconds: float) -> ResilientExecutor:
                return ResilientExecutor(
                    stores,
                    trace=Trace(),
                    seconds=30,
                    needed=["PostgreSQL", "MongoDB"],
                    breakers=breakers,
                    searches=SearchLimits(search_seconds, slots, breaker),
                )

            async with slots:  # another one takes long
                for _ in range(5):
                    with pytest.raises(StoreError, match="MongoDB"):
                        await executor(0.01).run(find_page(Query(tags=["gift"])))
            assert breaker.state == "open"
            with pytest.raises(CircuitOpenError):
                await executor(30).run(count_values(Query()))
            products = await executor(30).run(strategies.at_once(IDS))
            assert all(product["metadata"] for product in products)
            assert breakers["MongoDB"].view().failures == 0

    asyncio.run(main())


def test_no_further_request_is_sent_to_a_missing_store(far: ProxiedStores) -> None:
    async def main() -> None:
        async with await connect_async_again(far, limits=_SHORT) as stores:
            far.proxies.mongo.cut()
            trace = Trace()
            executor = ResilientExecutor(stores, trace=trace, seconds=_short_for("mongo"))
            for _ in range(3):
                await executor.run(strategies.at_once(IDS))
            assert [span.store for span in trace.spans].count("MongoDB") == 1
            far.proxies.mongo.restore()

    asyncio.run(main())


def test_while_postgresqls_circuit_is_open_the_ledger_is_not_read(far: ProxiedStores) -> None:
    breakers = breakers_of(far.addresses)
    far.redis.delete(stock_key(2))

    async def fill(ids: Sequence[int]) -> Mapping[int, int | None]:
        raise AssertionError(ids)

    async def main() -> Any:
        async with await connect_async_again(far, limits=_SHORT) as stores:
            executor = ResilientExecutor(
                stores, trace=Trace(), seconds=5.0, fill=fill, breakers=breakers
            )
            for _ in range(5):
                breakers["PostgreSQL"].begin()("fail")
            return await executor.send(FillStock([2]))

    assert asyncio.run(main()) == {}


def test_wait_at_most_does_not_wait_for_a_task_that_ignores_cancellation() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def stubborn() -> None:
            """Continue after a cancellation, as drivers do while their server is unresponsive."""
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await ended.wait()
                raise RuntimeError("ignored") from None

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


def test_an_unknown_kind_of_request_raises_a_type_error(far: ProxiedStores) -> None:
    async def main(stores: AsyncStores) -> None:
        @dataclasses.dataclass(frozen=True)
        class Unknown(Request[Any], store="MongoDB", name="find"):
            pass

        with pytest.raises(TypeError, match="Unknown"):
            await ResilientExecutor(stores, trace=Trace(), seconds=1).send(Unknown())

    async def connected() -> None:
        async with await connect_async_again(far) as stores:
            await main(stores)

    asyncio.run(connected())
