"""The three stores for many concurrent requests: the drivers' async clients, in pools."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pymongo
import redis
from pymongo.asynchronous.database import AsyncDatabase
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from helpers.settings import DATABASE, Addresses
from helpers.stores.connect import Document, explaining
from helpers.stores.connection_limits import TIMEOUT_SECONDS, Limits
from helpers.stores.long_lists import is_slow_at_lists
from helpers.stores.postgres_pools import AsyncPool
from helpers.stores.pymongo_waits import make_cancellable
from helpers.stores.stores import AsyncClients

__all__ = ["AsyncStores", "Limits", "connect_async"]


@dataclass(frozen=True, repr=False)
class AsyncStores(AsyncClients):
    """One shop's three stores, for an event loop.

    ``postgres`` is a pool of psycopg connections to the coordinator (autocommit), ``mongo`` a
    PyMongo database, ``redis`` a redis-py client; the latter two have their own pools.
    ``slow_at_lists`` tells whether the document server is slow at ``$in``. Use it in an
    ``async with`` statement, or call ``aclose()``.

    Requests after a server's restart do not fail. For this, redis-py sends a command again if its
    connection was lost, so send only commands that are safe to repeat.
    """

    postgres: AsyncPool
    mongo: AsyncDatabase[Document]
    redis: aioredis.Redis
    addresses: Addresses
    slow_at_lists: bool

    def _closers(self) -> Sequence[Callable[[], Any]]:
        return self.redis.aclose, self.mongo.client.close, self.postgres.close


async def connect_async(
    addresses: Addresses,
    *,
    database: str | None = None,
    redis_database: int | None = None,
    limits: Limits | None = None,
) -> AsyncStores:
    """Connect to the three stores: to the databases in the addresses, or to the given ones.

    Raises ``StoreError`` for the first store that does not respond; no connection stays open then.
    """
    limits = limits or Limits()
    async with contextlib.AsyncExitStack() as opened:
        with explaining("PostgreSQL", addresses.coordinator):
            postgres = AsyncPool(addresses.coordinator, database, limits)
            opened.push_async_callback(postgres.close)
            # A pool reports only that it has no connection; a single one reports the cause.
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


def _redis(url: str, database: int | None, limits: Limits) -> aioredis.Redis:
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        # Not after a timeout: that would wait twice for a server that is unresponsive.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **limits.for_redis(),
    )
    if database is not None:
        pool.connection_kwargs["db"] = database
    return aioredis.Redis.from_pool(pool)
