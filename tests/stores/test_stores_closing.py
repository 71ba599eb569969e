"""Stores that are closed have closed their sockets: none is left to whoever collects garbage."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import psutil
import pytest

from helpers import traced
from helpers.stores import Stores
from helpers.stores.proxied_stores import proxied
from helpers.stores.stores import connect_all
from tests.connections import connect_async_again, connect_pooled_again
from tests.waiting import wait_until


def _ask(stores: Stores) -> None:
    assert stores.postgres.execute("SELECT 1").fetchone() == (1,)
    assert stores.mongo.command("ping")["ok"] == 1
    assert stores.redis.ping()


def _connected(shared: Stores) -> None:
    number = shared.redis.connection_pool.connection_kwargs["db"]
    with connect_all(shared.addresses, database=shared.mongo.name, redis_database=number) as stores:
        _ask(stores)


def _traced(shared: Stores) -> None:
    with traced(shared) as (stores, _):
        _ask(stores)


def _linked(shared: Stores) -> None:
    with proxied(shared) as stores:
        _ask(stores)


def _pooled(shared: Stores) -> None:
    with connect_pooled_again(shared) as stores:
        with stores.postgres.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert stores.redis.ping()


def _awaited(shared: Stores) -> None:
    async def main() -> None:
        async with await connect_async_again(shared) as stores:
            async with stores.postgres.connection() as connection:
                await connection.execute("SELECT 1")
            assert (await stores.mongo.command("ping"))["ok"] == 1
            assert await stores.redis.ping()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _connections() -> set[tuple[object, object]]:
    return {(one.laddr, one.raddr) for one in psutil.Process().net_connections("tcp")}


@pytest.mark.parametrize(
    "use",
    [_connected, _traced, _pooled, _awaited, pytest.param(_linked, marks=pytest.mark.verify)],
)
def test_stores_that_are_closed_leave_no_connection(
    shared: Stores, use: Callable[[Stores], None]
) -> None:
    _ask(shared)
    before = _connections()
    for _ in range(2):
        use(shared)
    wait_until(lambda: _connections() <= before)
