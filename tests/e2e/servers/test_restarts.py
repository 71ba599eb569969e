"""Killed and restarted servers lose no acknowledged data, and open pools recover."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from helpers.catalog.model import Order
from helpers.embedded import EmbeddedServers
from helpers.errors import StockError, StoreError
from helpers.joins import run_async, strategies
from helpers.orders.orders import Orders
from helpers.settings import Addresses
from helpers.shop import locate, open_shop
from helpers.shop.schema import drop_shop
from helpers.shop.seeding import seed
from helpers.stock import reconcile
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, connect_async
from helpers.stores.connection_limits import Limits
from helpers.stores.pooled_stores import PooledStores, connect_pooled
from tests.e2e.servers.server_helpers import NAMES, kill_processes, main_pids, shared_servers
from tests.orders.agreement import assert_all_agree, ordered
from tests.waiting import wait_until

pytestmark = pytest.mark.servers

T = TypeVar("T")

MANY = 6
LIMITS = Limits(connections=MANY, wait_seconds=30, answer_seconds=30)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> EmbeddedServers:
    """Servers with a small shop; they run after each test."""
    servers = shared_servers(request.session)
    with open_shop(servers.settings) as stores:
        drop_shop(stores)
        seed(stores, 20, orders=False)
    return servers


@pytest.fixture
def addresses(running: EmbeddedServers) -> Addresses:
    return locate(running.settings)


def restart(
    servers: EmbeddedServers, killed: list[str], write: Callable[[], object] = lambda: None
) -> None:
    """Call ``write``, kill servers, and check that the next connection starts exactly these."""
    before = main_pids(servers)
    write()
    kill_processes({name: before[name] for name in killed})
    open_shop(servers.settings).close()
    after = main_pids(servers)
    assert {name for name in NAMES if before[name] != after[name]} == set(killed)


@pytest.mark.parametrize(
    "killed",
    [
        pytest.param(NAMES, id="all"),
        *(
            pytest.param(names, marks=pytest.mark.verify, id=" ".join(names))
            for names in (
                ["coordinator"],
                ["worker1"],
                ["worker1", "worker2"],
                ["mongo"],
                ["redis"],
            )
        ),
    ],
)
def test_after_a_kill_no_data_is_lost_and_open_clients_continue(
    running: EmbeddedServers, addresses: Addresses, killed: list[str]
) -> None:
    """Acknowledged writes are there; open pools and clients read and order as before."""

    async def read(stores: AsyncStores) -> object:
        return await run_async(stores, strategies.batched())

    async def main() -> None:
        async with await connect_async(addresses, limits=LIMITS) as stores:
            before = await asyncio.gather(*(read(stores) for _ in range(MANY)))
            with open_shop(running.settings) as writer:
                write = _prepare_writes(writer)
                await asyncio.to_thread(restart, running, killed, write)
            assert _written(running) == dict.fromkeys(("PostgreSQL", "MongoDB", "Redis"), _VALUES)
            assert await read(stores) == before[0]
            assert await asyncio.gather(*(read(stores) for _ in range(MANY))) == before

    with connect_pooled(addresses, limits=LIMITS) as pooled:
        orders = Orders.of(pooled)
        # Products on both workers.
        for product in range(1, 11):
            orders.stock.set_on_hand(product, 1 + 2 * MANY)
        concurrently(lambda: [orders.place(product, 1, 7) for product in range(1, 11)])
        asyncio.run(main())
        first = orders.place(1, 1, 7)
        placed = concurrently(lambda: [orders.place(product, 1, 7) for product in range(1, 11)])
        assert orders.find(first.id) == first
        assert [orders.find(order.id) for order in placed[0]] == placed[0]
        assert orders.stock.read(range(1, 11)) == {1: 0} | dict.fromkeys(range(2, 11), 1)
        reconcile(orders.stock, in_doubt_seconds=0)
    with open_shop(running.settings) as shop:
        assert_all_agree(shop)


_VALUES = [str(number) for number in range(20)]


def _prepare_writes(stores: Stores) -> Callable[[], None]:
    """Return a function that writes values to each store one by one, and waits for each."""
    stores.postgres.execute("DROP TABLE IF EXISTS kept")
    stores.postgres.execute("CREATE TABLE kept (value text)")
    stores.mongo.kept.drop()
    stores.redis.delete("kept")

    def write() -> None:
        for value in _VALUES:
            stores.postgres.execute("INSERT INTO kept VALUES (%s)", [value])
            stores.mongo.kept.insert_one({"value": value})
            stores.redis.rpush("kept", value)

    return write


def _written(servers: EmbeddedServers) -> dict[str, list[Any]]:
    with open_shop(servers.settings) as stores:
        return {
            "PostgreSQL": [row[0] for row in stores.postgres.execute("SELECT * FROM kept")],
            "MongoDB": [document["value"] for document in stores.mongo.kept.find().sort("_id")],
            "Redis": list(stores.redis.lrange("kept", 0, -1)),
        }


def concurrently(do: Callable[[], T]) -> list[T]:
    with ThreadPoolExecutor(MANY) as pool:
        calls = [pool.submit(do) for _ in range(MANY)]
    return [call.result() for call in calls]


@pytest.mark.verify
@pytest.mark.parametrize("killed", ["coordinator", "redis"])
def test_callers_get_an_error_while_a_server_is_down_and_no_order_is_lost(
    running: EmbeddedServers, addresses: Addresses, killed: str
) -> None:
    with connect_pooled(addresses, limits=LIMITS) as stores:
        orders = Orders.of(stores)
        orders.stock.set_on_hand(1, 50)
        concurrently(lambda: orders.place(1, 1, 7))
        with open_shop(running.settings) as shop:
            before = ordered(shop)[1]
        kill_processes({killed: main_pids(running)[killed]})
        wait_until(lambda: not running.server(killed).processes())
        assert concurrently(lambda: _refused(stores, orders)) == [_STORES[killed]] * MANY
        running.up()
        assert orders.place(1, 1, 7).quantity == 1
        reconcile(orders.stock, in_doubt_seconds=0)
        assert orders.stock.read([1]) == {1: 50 - MANY - 1}
    with open_shop(running.settings) as shop:
        assert ordered(shop)[1] == before + 1
        assert_all_agree(shop)


@pytest.mark.verify
@pytest.mark.parametrize(
    "killed",
    [["coordinator"], ["worker1", "worker2"], ["redis"], NAMES],
    ids=" ".join,
)
def test_servers_killed_during_orders_keep_every_order_with_its_sale(
    running: EmbeddedServers, addresses: Addresses, killed: list[str]
) -> None:
    """Acknowledged orders exist; others exist completely or not at all."""
    acknowledged: list[Order] = []
    stop = threading.Event()
    with connect_pooled(addresses, limits=LIMITS) as stores:
        orders = Orders.of(stores)
        for product in (1, 2, 3):
            orders.stock.set_on_hand(product, 100_000)

        def buy() -> None:
            while not stop.is_set():
                for product in (1, 2, 3):
                    # A sale in doubt may reserve the units.
                    with contextlib.suppress(StoreError, StockError), stores.explaining():
                        acknowledged.append(orders.place(product, 1, 7))

        with ThreadPoolExecutor(MANY) as pool:
            buyers = [pool.submit(buy) for _ in range(MANY)]
            try:
                wait_until(lambda: len(acknowledged) > 30)
                restart(running, killed)
                before = len(acknowledged)
                wait_until(lambda: len(acknowledged) > before + 30)
            finally:
                stop.set()
        for buyer in buyers:
            buyer.result()
        reconcile(orders.stock, in_doubt_seconds=0)
    with open_shop(running.settings) as shop:
        assert_all_agree(shop)
        stored = {order for (order,) in shop.postgres.execute("SELECT id FROM orders")}
    assert len({order.id for order in acknowledged}) == len(acknowledged)
    assert {order.id for order in acknowledged} <= stored


_STORES = {"coordinator": "PostgreSQL", "redis": "Redis"}


def _refused(stores: PooledStores, orders: Orders) -> str:
    with pytest.raises(StoreError) as caught, stores.explaining():
        orders.place(1, 1, 7)
    assert "in use" not in str(caught.value)
    return caught.value.store
