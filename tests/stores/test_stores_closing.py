"""Closing stores closes their sockets, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import psutil
import pytest

from helpers import traced
from helpers.stores import Stores
from helpers.stores.proxied_stores import proxied
from helpers.stores.stores import connect_again
from tests.connections import connect_async_again, connect_pooled_again
from tests.waiting import wait_until


def _ask(stores: Stores) -> None:
    assert stores.postgres.execute("SELECT 1").fetchone() == (1,)
    assert stores.mongo.command("ping")["ok"] == 1
    assert stores.redis.ping()


def _connected(shared: Stores) -> None:
    with connect_again(shared) as stores:
        _ask(stores)


def _traced(shared: Stores) -> None:
    with traced(shared) as (stores, _):
        _ask(stores)


def _proxied(shared: Stores) -> None:
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
    """Disable the garbage collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _connections() -> set[tuple[object, object]]:
    return {
        (connection.laddr, connection.raddr)
        for connection in psutil.Process().net_connections("tcp")
    }


@pytest.mark.parametrize(
    "use",
    [_connected, _traced, _pooled, _awaited, pytest.param(_proxied, marks=pytest.mark.verify)],
)
def test_closed_stores_leave_no_connection(shared: Stores, use: Callable[[Stores], None]) -> None:
    _ask(shared)
    before = _connections()
    for _ in range(2):
        use(shared)
    wait_until(lambda: _connections() <= before)
