"""Whoever is cancelled leaves nothing behind; whoever fails ends the others; nothing is old."""

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
from tests.sharing import restored
from tests.waiting import come

# One connection to each store: where one is not given back, the next request gets none.
ONE = Limits(connections=1, wait_seconds=5, answer_seconds=3)

Ask = Callable[[AsyncStores], Coroutine[Any, Any, Any]]


async def _load(stores: AsyncStores) -> object:
    async with product_loader(stores) as loader:
        return await loader.load_many([1, 2, 3])


REQUESTS: dict[str, Ask] = {
    "per_product": lambda stores: run_async(stores, strategies.per_product()),
    "batched": lambda stores: run_async(stores, strategies.batched()),
    "rows_first": lambda stores: run_async(stores, strategies.rows_first()),
    "at_once": lambda stores: run_async(stores, strategies.at_once([1, 2, 3])),
    "page": lambda stores: run_async(stores, find_page(Query(category="c", tags=["gift"]))),
    "Pages": lambda stores: SharedPages(stores).read(Query(ids=[1, 2, 3])),
    "loader": _load,
}
# In `make test`: each that runs a request in a way of its own.
_FEW = ("at_once", "loader")
EACH = pytest.mark.parametrize(
    "request_name",
    [pytest.param(name, marks=() if name in _FEW else pytest.mark.verify) for name in REQUESTS],
)


@pytest.fixture(scope="module")
def shop(both: Both) -> Stores:
    put(
        both.waiting,
        MemoryStores(
            dict.fromkeys((1, 2, 3), ("A", "1", "c")),
            [{"product_id": one, "tags": ["gift"]} for one in (1, 2, 3)],
            dict.fromkeys((1, 2, 3), b"5"),
        ),
    )
    return both.waiting


@contextlib.asynccontextmanager
async def _connected(stores: Stores, limits: Limits = ONE) -> AsyncIterator[AsyncStores]:
    """Connect with one connection to each store, all of which are open at the beginning."""
    async with await connect_async_again(stores, limits=limits) as found:
        await found.postgres.wait()
        await _serve(found)
        yield found


@pytest.fixture
def links(shop: Stores, proxied_stores: ProxiedStores) -> Iterator[tuple[Stores, Proxies]]:
    with restored(proxied_stores) as far:
        yield far, far.proxies


def _link(links: Proxies, store: StoreName) -> TcpProxy:
    return {"PostgreSQL": links.postgres, "MongoDB": links.mongo, "Redis": links.redis}[store]


async def _serve(stores: AsyncStores) -> None:
    """Ask all three stores in every way; each lends its one connection."""
    for ask in REQUESTS.values():
        await ask(stores)


def _joining() -> set[asyncio.Task[Any]]:
    """Return the tasks that run the join: the drivers have some of their own."""
    found = set()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and "helpers/joins" in code.co_filename:
            found.add(task)
    return found


async def _assert_nothing_left(stores: AsyncStores) -> None:
    assert _joining() == set()
    assert stores.redis.connection_pool._in_use_connections == set()
    # A connection that cannot be used again is made anew; none is lent out.
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
                # The server has been told: nobody waits for the lock any more.
                await come(lambda: not _waits_for_lock(shop))
            await _assert_nothing_left(stores)

    asyncio.run(main())


@contextlib.contextmanager
def _locked(stores: Stores) -> Iterator[None]:
    """Let nobody read products meanwhile."""
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


# The drivers wait some seconds before they let go of a server that is silent:
# a few requests are enough to see that they end.
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
def test_a_request_cancelled_while_a_store_is_silent(
    links: tuple[Stores, Proxies], request_name: str, store: StoreName
) -> None:
    async def main() -> None:
        far, all_links = links
        link = _link(all_links, store)
        async with _connected(far) as stores:
            link.freeze()
            before = link.state().buffered_bytes
            task = asyncio.create_task(REQUESTS[request_name](stores))
            # MongoDB's driver also asks by itself whether the server is there: then nobody may
            # have been asked yet, and what is to hold holds all the more.
            await come(lambda: link.state().buffered_bytes > before)
            await _cancelled(task)
            assert _joining() == set()
            link.restore()
            await _assert_nothing_left(stores)

    asyncio.run(main())


@EACH
def test_a_request_cancelled_after_any_number_of_turns(shop: Stores, request_name: str) -> None:
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
def test_a_store_that_fails_says_so_and_the_others_are_asked_no_longer(
    links: tuple[Stores, Proxies], shop: Stores, store: StoreName
) -> None:
    async def main() -> None:
        far, all_links = links
        silent = all_links.postgres if store == "MongoDB" else all_links.mongo
        async with _connected(far, Limits(connections=1, answer_seconds=60)) as stores:
            with contextlib.ExitStack() as held:
                if store == "MongoDB":
                    held.enter_context(_locked(shop))
                else:
                    silent.freeze()
                _link(all_links, store).cut()
                with pytest.raises(StoreError) as failed, stores.explaining():
                    await run_async(stores, strategies.at_once([1, 2, 3]))
                assert failed.value.store == store
                assert _joining() == set()
            all_links.restore()
            await _assert_nothing_left(stores)

    asyncio.run(main())


def test_an_error_reaches_all_who_share_a_page_and_the_next_one_is_read_anew(
    links: tuple[Stores, Proxies],
) -> None:
    async def main() -> None:
        far, all_links = links
        async with _connected(far) as stores:
            pages = SharedPages(stores)
            all_links.redis.cut()
            found = await asyncio.gather(
                *(pages.read(Query(ids=[1])) for _ in range(5)), return_exceptions=True
            )
            assert len({id(one) for one in found}) == 1
            assert isinstance(found[0], redis.RedisError)
            all_links.restore()
            assert (await pages.read(Query(ids=[1]))).products[0]["stock"] == "5"
            await _assert_nothing_left(stores)

    asyncio.run(main())


def test_one_of_those_who_share_a_page_leaves_and_the_others_get_it(shop: Stores) -> None:
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
def test_who_asks_for_a_page_after_a_write_was_acknowledged_sees_it(
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
                    # Before the first write there are 5.
                    assert known == 0 or int(product["stock"] or 0) >= known
                    pages_read += 1

            writer = asyncio.create_task(write())
            await asyncio.gather(writer, *(read(writer) for _ in range(8)))
            assert pages_read >= 8

    asyncio.run(main())
    shop.mongo.productmetas.update_one({"product_id": 1}, {"$unset": {"number": 1}})
    shop.redis.set("stock:1", "5")
    shop.postgres.execute("UPDATE products SET price = 1 WHERE id = 1")
