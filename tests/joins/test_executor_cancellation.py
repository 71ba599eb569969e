"""Cancelled requests leave no tasks, failed ones cancel the others, shared pages are fresh."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import psycopg
import pytest
import redis

from helpers.errors import StoreError, StoreName
from helpers.joins import Query, run_async, strategies
from helpers.joins.pages import find_page
from helpers.proxy.tcp_proxy import TcpProxy
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, Limits
from helpers.stores.proxied_stores import ProxiedStores, Proxies
from tests.connections import connect_async_again
from tests.joins.conftest import Both
from tests.joins.filling import put
from tests.joins.memory import MemoryStores
from tests.joins.shared_reads import SharedPages, product_loader
from tests.shared_proxies import restored
from tests.waiting import come

# One connection to each store: if it is not returned to the pool, the next request gets none.
ONE_CONNECTION = Limits(connections=1, wait_seconds=5, answer_seconds=3)

Read = Callable[[AsyncStores], Coroutine[Any, Any, Any]]


async def _load(stores: AsyncStores) -> object:
    async with product_loader(stores) as loader:
        return await loader.load_many([1, 2, 3])


REQUESTS: dict[str, Read] = {
    "per_product": lambda stores: run_async(stores, strategies.per_product()),
    "batched": lambda stores: run_async(stores, strategies.batched()),
    "at_once": lambda stores: run_async(stores, strategies.at_once([1, 2, 3])),
    "page": lambda stores: run_async(stores, find_page(Query(category="c", tags=["gift"]))),
    "Pages": lambda stores: SharedPages(stores).read(Query(ids=[1, 2, 3])),
    "loader": _load,
}
# In `make test`: one of each kind.
_FEW = ("at_once", "loader")
EACH = pytest.mark.parametrize(
    "request_name",
    [pytest.param(name, marks=() if name in _FEW else pytest.mark.verify) for name in REQUESTS],
)


@pytest.fixture(scope="module")
def shop(both: Both) -> Stores:
    put(
        both.blocking,
        MemoryStores(
            dict.fromkeys((1, 2, 3), ("A", "1", "c")),
            [{"product_id": number, "tags": ["gift"]} for number in (1, 2, 3)],
            dict.fromkeys((1, 2, 3), b"5"),
        ),
    )
    return both.blocking


@contextlib.asynccontextmanager
async def _connected(stores: Stores, limits: Limits = ONE_CONNECTION) -> AsyncIterator[AsyncStores]:
    """Connect with one open connection to each store."""
    async with await connect_async_again(stores, limits=limits) as found:
        await found.postgres.wait()
        await _serve(found)
        yield found


@pytest.fixture
def far(shop: Stores, proxied_stores: ProxiedStores) -> Iterator[tuple[Stores, Proxies]]:
    with restored(proxied_stores) as found:
        yield found, found.proxies


def _proxy_of(proxies: Proxies, store: StoreName) -> TcpProxy:
    return {"PostgreSQL": proxies.postgres, "MongoDB": proxies.mongo, "Redis": proxies.redis}[store]


async def _serve(stores: AsyncStores) -> None:
    """Run every kind of request; each uses the only connection of a store."""
    for read in REQUESTS.values():
        await read(stores)


def _joining() -> set[asyncio.Task[Any]]:
    """Return the tasks of the join, without those of the drivers."""
    found = set()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and "helpers/joins" in code.co_filename:
            found.add(task)
    return found


async def _assert_nothing_left(stores: AsyncStores) -> None:
    assert _joining() == set()
    assert stores.redis.connection_pool._in_use_connections == set()
    # A connection that cannot be reused is replaced; none is checked out.
    await stores.postgres.wait()
    await come(lambda: _free(stores))
    await _serve(stores)
    assert _joining() == set()
    assert _free(stores)


def _free(stores: AsyncStores) -> bool:
    stats = stores.postgres.get_stats()
    return stats["pool_available"] == stats["pool_size"] == 1


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=60)
    assert done, "it ends"
    assert task.cancelled()


@EACH
def test_a_request_cancelled_while_postgresql_waits_for_a_lock(
    shop: Stores, request_name: str
) -> None:
    async def main() -> None:
        async with _connected(shop) as stores:
            with _locked(shop):
                task = asyncio.create_task(REQUESTS[request_name](stores))
                await come(lambda: _waits_for_lock(shop))
                await _cancelled(task)
                assert _joining() == set()
                # The server has cancelled the query: nothing waits for the lock any more.
                await come(lambda: not _waits_for_lock(shop))
            await _assert_nothing_left(stores)

    asyncio.run(main())


@contextlib.contextmanager
def _locked(stores: Stores) -> Iterator[None]:
    """Lock the products table against readers."""
    with (
        psycopg.connect(stores.addresses.coordinator, dbname=stores.postgres.info.dbname) as other,
        other.transaction(),
    ):
        other.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
        yield


def _waits_for_lock(stores: Stores) -> bool:
    row = stores.postgres.execute(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return row is not None and row[0] > 0


# The drivers wait some seconds before they abandon an unresponsive server, so only a few requests
# are tested.
SILENT = [
    ("loader", "Redis"),
    *(
        pytest.param(name, store, marks=pytest.mark.verify)
        for name, store in (
            ("batched", "MongoDB"),
            ("at_once", "MongoDB"),
            ("Pages", "MongoDB"),
            ("at_once", "Redis"),
            ("at_once", "PostgreSQL"),
        )
    ),
]


@pytest.mark.parametrize(("request_name", "store"), SILENT)
def test_a_request_cancelled_while_a_store_is_unresponsive(
    far: tuple[Stores, Proxies], request_name: str, store: StoreName
) -> None:
    async def main() -> None:
        stores_behind, proxies = far
        proxy = _proxy_of(proxies, store)
        async with _connected(stores_behind) as stores:
            proxy.freeze()
            before = proxy.state().buffered_bytes
            task = asyncio.create_task(REQUESTS[request_name](stores))
            # These may be bytes of the monitoring of MongoDB's driver, before the request itself.
            await come(lambda: proxy.state().buffered_bytes > before)
            await _cancelled(task)
            assert _joining() == set()
            proxy.restore()
            await _assert_nothing_left(stores)

    asyncio.run(main())


@EACH
def test_a_request_cancelled_after_any_number_of_event_loop_turns(
    shop: Stores, request_name: str
) -> None:
    async def main() -> None:
        async with _connected(shop) as stores:
            for turns in [*range(0, 30, 3), *(round(30 * 1.3**power) for power in range(20))]:
                task = asyncio.create_task(REQUESTS[request_name](stores))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or task.exception() is None
                assert _joining() == set()
            await _assert_nothing_left(stores)

    asyncio.run(main())


@pytest.mark.parametrize(
    "store",
    [
        *(pytest.param(store, marks=pytest.mark.verify) for store in ("PostgreSQL", "MongoDB")),
        "Redis",
    ],
)
def test_a_failed_request_raises_an_error_and_cancels_the_others(
    far: tuple[Stores, Proxies], shop: Stores, store: StoreName
) -> None:
    async def main() -> None:
        stores_behind, proxies = far
        unresponsive = proxies.postgres if store == "MongoDB" else proxies.mongo
        async with _connected(stores_behind, Limits(connections=1, answer_seconds=60)) as stores:
            with contextlib.ExitStack() as held:
                if store == "MongoDB":
                    held.enter_context(_locked(shop))
                else:
                    unresponsive.freeze()
                _proxy_of(proxies, store).cut()
                with pytest.raises(StoreError) as failed, stores.explaining():
                    await run_async(stores, strategies.at_once([1, 2, 3]))
                assert failed.value.store == store
                assert _joining() == set()
            proxies.restore()
            await _assert_nothing_left(stores)

    asyncio.run(main())


def test_an_error_is_raised_by_all_who_share_a_page_and_is_not_cached(
    far: tuple[Stores, Proxies],
) -> None:
    async def main() -> None:
        stores_behind, proxies = far
        async with _connected(stores_behind) as stores:
            pages = SharedPages(stores)
            proxies.redis.cut()
            found = await asyncio.gather(
                *(pages.read(Query(ids=[1])) for _ in range(5)), return_exceptions=True
            )
            assert len({id(error) for error in found}) == 1
            assert isinstance(found[0], redis.RedisError)
            proxies.restore()
            assert (await pages.read(Query(ids=[1]))).products[0]["stock"] == "5"
            await _assert_nothing_left(stores)

    asyncio.run(main())


def test_cancelling_one_reader_of_a_shared_page_does_not_affect_the_others(shop: Stores) -> None:
    async def main() -> None:
        async with _connected(shop) as stores:
            pages = SharedPages(stores)
            with _locked(shop):
                tasks = [asyncio.create_task(pages.read(Query(ids=[1]))) for _ in range(3)]
                await come(lambda: _waits_for_lock(shop))
                await _cancelled(tasks[0])
                assert _waits_for_lock(shop)
            first, second = await asyncio.gather(*tasks[1:])
            assert first is second
            await _assert_nothing_left(stores)

    asyncio.run(main())


@pytest.mark.parametrize(
    "query",
    [
        Query(ids=[1]),
        *(
            pytest.param(query, marks=pytest.mark.verify)
            for query in (Query(category="c"), Query(tags=["gift"]))
        ),
    ],
)
def test_a_shared_page_includes_all_writes_acknowledged_before_the_request(
    shop: Stores, query: Query
) -> None:
    async def main() -> None:
        acknowledged, pages_read = 0, 0
        async with (
            await connect_async_again(shop) as stores,
            await connect_async_again(shop) as writing,
        ):
            pages = SharedPages(stores)

            async def write() -> None:
                nonlocal acknowledged
                for number in range(1, 61):
                    async with writing.postgres.connection() as connection:
                        await connection.execute(
                            "UPDATE products SET price = %s WHERE id = 1", [number]
                        )
                    await writing.mongo.productmetas.update_one(
                        {"product_id": 1}, {"$set": {"number": number}}
                    )
                    await writing.redis.set("stock:1", number)
                    acknowledged = number

            async def read(writer: asyncio.Task[None]) -> None:
                nonlocal pages_read
                while not writer.done():
                    known = acknowledged
                    (product, *_) = (await pages.read(query)).products
                    assert int(product["price"]) >= known
                    assert (product["metadata"] or {}).get("number", 0) >= known
                    # Before the first write the stock is 5.
                    assert known == 0 or int(product["stock"] or 0) >= known
                    pages_read += 1

            writer = asyncio.create_task(write())
            await asyncio.gather(writer, *(read(writer) for _ in range(8)))
            assert pages_read >= 8

    asyncio.run(main())
    shop.mongo.productmetas.update_one({"product_id": 1}, {"$unset": {"number": 1}})
    shop.redis.set("stock:1", "5")
    shop.postgres.execute("UPDATE products SET price = 1 WHERE id = 1")
