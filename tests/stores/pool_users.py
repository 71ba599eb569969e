"""Pooled stores for threads and for an event loop, with the same interface for the tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Protocol

from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.connection_limits import Limits
from helpers.stores.pooled_stores import PooledStores
from tests.connections import connect_async_again, connect_pooled_again


class PoolUser(Protocol):
    """Pooled stores. Errors of the drivers are raised as ``StoreError``."""

    @property
    def stores(self) -> PooledStores | AsyncStores:
        """The stores themselves."""

    def query(self, statement: str, times: int = 1) -> list[Any]:
        """Run a statement ``times`` times concurrently; return the first value of each result."""

    def ping(self, times: int = 1) -> list[bool]:
        """Ping Redis ``times`` times concurrently."""

    def check_out(self, number: int) -> tuple[set[int], set[int]]:
        """Check out connections; return their process ids in PostgreSQL and client ids in Redis."""


class Threads:
    """``PooledStores``, used by threads."""

    def __init__(self, stores: PooledStores) -> None:
        self.stores = stores

    def query(self, statement: Any, times: int = 1) -> list[Any]:
        def request(_: int) -> Any:
            with self.stores.explaining(), self.stores.postgres.connection() as connection:
                cursor = connection.execute(statement)
                return None if cursor.description is None else cursor.fetchall()[0][0]

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(request, range(times)))

    def ping(self, times: int = 1) -> list[bool]:
        def request(_: int) -> bool:
            with self.stores.explaining():
                return bool(self.stores.redis.ping())

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(request, range(times)))

    def check_out(self, number: int) -> tuple[set[int], set[int]]:
        pids, clients = set(), set()
        single_connection: Any = self.stores.redis.client
        with ExitStack() as opened:
            for _ in range(number):
                connection = opened.enter_context(self.stores.postgres.connection())
                pids.add(connection.info.backend_pid)
                clients.add(opened.enter_context(single_connection()).client_id())
        return pids, clients


class Loop:
    """``AsyncStores``, used by tasks."""

    def __init__(self, stores: AsyncStores, runner: asyncio.Runner) -> None:
        self.stores = stores
        self.runner = runner

    def query(self, statement: Any, times: int = 1) -> list[Any]:
        async def request() -> Any:
            with self.stores.explaining():
                async with self.stores.postgres.connection() as connection:
                    cursor = await connection.execute(statement)
                    return None if cursor.description is None else (await cursor.fetchall())[0][0]

        return self._all([request() for _ in range(times)])

    def ping(self, times: int = 1) -> list[bool]:
        async def request() -> bool:
            with self.stores.explaining():
                return bool(await self.stores.redis.ping())

        return self._all([request() for _ in range(times)])

    def check_out(self, number: int) -> tuple[set[int], set[int]]:
        async def borrow() -> tuple[set[int], set[int]]:
            pids, clients = set(), set()
            async with AsyncExitStack() as opened:
                for _ in range(number):
                    connection = self.stores.postgres.connection()
                    pids.add((await opened.enter_async_context(connection)).info.backend_pid)
                    client = await opened.enter_async_context(self.stores.redis.client())
                    clients.add(await client.client_id())
            return pids, clients

        return self.runner.run(borrow())

    def _all(self, requests: list[Coroutine[Any, Any, Any]]) -> list[Any]:
        async def gather() -> list[Any]:
            return list(await asyncio.gather(*requests))

        return self.runner.run(gather())


@contextlib.contextmanager
def using_pools(kind: str, stores: Stores, limits: Limits) -> Iterator[Threads | Loop]:
    """Connect to the databases of ``stores`` again; ``kind`` is ``threads`` or ``loop``."""
    if kind == "threads":
        with connect_pooled_again(stores, limits=limits) as waiting:
            yield Threads(waiting)
        return
    with asyncio.Runner() as runner:
        awaited = runner.run(connect_async_again(stores, limits=limits))
        try:
            yield Loop(awaited, runner)
        finally:
            runner.run(awaited.aclose())
