"""The three stores for many requests at a time: the drivers' awaited clients, in pools."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pymongo
import redis
from pymongo.asynchronous.database import AsyncDatabase
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from helpers.settings import DATABASE, Addresses
from helpers.stores.connect import Document, explaining, explaining_all
from helpers.stores.connection_limits import TIMEOUT_SECONDS, Limits
from helpers.stores.long_lists import is_slow_at_lists
from helpers.stores.postgres_pools import AsyncPool
from helpers.stores.pymongo_waits import make_cancellable
from helpers.stores.stores import Stores

__all__ = ["AsyncStores", "Limits", "connect_async", "connect_beside"]


@dataclass(frozen=True)
class AsyncStores:
    """One shop's three stores, for an event loop.

    ``postgres`` is a pool of psycopg connections to the coordinator (autocommit), ``mongo`` a
    PyMongo database, ``redis`` a redis-py client; the latter two have pools of their own.
    ``slow_at_lists`` says that the document server is slow at ``$in``. Use it in an ``async with``
    statement, or call ``aclose()``.

    A server that was started again is no error to whoever asks next. In Redis a command whose
    connection was lost is therefore sent once more: send only what may come twice.
    """

    postgres: AsyncPool
    mongo: AsyncDatabase[Document]
    redis: aioredis.Redis
    addresses: Addresses
    slow_at_lists: bool

    async def aclose(self) -> None:
        """Close all connections."""
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self.redis.aclose)
            closing.push_async_callback(self.mongo.client.close)
            closing.push_async_callback(self.postgres.close)

    def explaining(self) -> AbstractContextManager[None]:
        """Turn any error of the three drivers into a ``StoreError``, for use at the very top."""
        return explaining_all(self.addresses)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncStores of {self.mongo.name}>"


async def connect_async(
    addresses: Addresses,
    *,
    database: str | None = None,
    redis_database: int | None = None,
    limits: Limits | None = None,
) -> AsyncStores:
    """Connect to the three stores: to the databases that the addresses name, or to those given.

    Raises ``StoreError`` for the first store that does not answer; nothing stays open then.
    """
    limits = limits or Limits()
    async with contextlib.AsyncExitStack() as opened:
        with explaining("PostgreSQL", addresses.coordinator):
            postgres = AsyncPool(addresses.coordinator, database, limits)
            opened.push_async_callback(postgres.close)
            # A pool says only that it got no connection; one made by hand says why.
            await postgres.probe()
            await postgres.open()
        with explaining("MongoDB", addresses.mongo):
            make_cancellable()
            client: pymongo.AsyncMongoClient[Document] = pymongo.AsyncMongoClient(
                addresses.mongo,
                maxPoolSize=limits.connections,
                waitQueueTimeoutMS=round(1000 * limits.wait_seconds),
                serverSelectionTimeoutMS=1000 * TIMEOUT_SECONDS,
                connectTimeoutMS=1000 * TIMEOUT_SECONDS,
                socketTimeoutMS=round(1000 * limits.seconds("MongoDB")),
            )
            opened.push_async_callback(client.close)
            mongo = client[database] if database else client.get_default_database(DATABASE)
            await mongo.command("listCollections", nameOnly=True)
            slow = is_slow_at_lists(await client.server_info())
        with explaining("Redis", addresses.redis):
            keys = _redis(addresses.redis, redis_database, limits)
            opened.push_async_callback(keys.aclose)
            await keys.ping()
        opened.pop_all()
    return AsyncStores(postgres, mongo, keys, addresses, slow)


async def connect_beside(stores: Stores, *, limits: Limits | None = None) -> AsyncStores:
    """Connect to the databases of ``stores`` once more, for an event loop.

    Where it is reached through links, the new connections are too. Raises ``StoreError``.
    """
    number = stores.redis.connection_pool.connection_kwargs.get("db")
    return await connect_async(
        stores.addresses, database=stores.mongo.name, redis_database=number, limits=limits
    )


def _redis(url: str, database: int | None, limits: Limits) -> aioredis.Redis:
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        # Not after a time limit: a server that is silent would be waited for twice.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **limits.for_redis(),
    )
    if database is not None:
        pool.connection_kwargs["db"] = database
    return aioredis.Redis.from_pool(pool)
