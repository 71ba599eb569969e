"""The clients of the three stores of one shop, opened and closed together.

``Stores`` has blocking clients, one connection each. ``pooled_stores`` and ``async_stores`` have
pools for threads and for an event loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import psycopg
import redis
from pymongo.database import Database
from pymongo.monitoring import CommandListener

from helpers.errors import StoreName
from helpers.settings import Addresses
from helpers.stores.connect import (
    Document,
    connect_mongo,
    connect_postgres,
    connect_redis,
    explaining,
    explaining_all,
)
from helpers.stores.connection_limits import Limits
from helpers.stores.postgres_pools import LimitedConnection, limit


class Clients:
    """Clients of stores that are closed together; use them in a ``with`` statement.

    A subclass has the clients as attributes and lists in ``_closers`` how to close them.
    """

    addresses: Addresses

    def explaining(self, store: StoreName | None = None) -> AbstractContextManager[None]:
        """Turn the drivers' errors into ``StoreError``, for use at the very top.

        With ``store``, a ``TimeoutError`` means that this store did not respond in time.
        """
        return explaining_all(self.addresses, store)

    def _closers(self) -> Sequence[Callable[[], Any]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.addresses!r}>"


class BlockingClients(Clients):
    """Clients of blocking drivers."""

    def close(self) -> None:
        """Close all connections."""
        with contextlib.ExitStack() as closing:
            for close in self._closers():
                closing.callback(close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClients(Clients):
    """Clients of async drivers; use them in an ``async with`` statement."""

    async def aclose(self) -> None:
        """Close all connections."""
        async with contextlib.AsyncExitStack() as closing:
            for close in self._closers():
                closing.push_async_callback(close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@dataclass(frozen=True, repr=False)
class Stores(BlockingClients):
    """One shop's three stores, with the drivers' own objects.

    ``postgres`` is a psycopg connection to the coordinator (autocommit), ``mongo`` a PyMongo
    database, ``redis`` a redis-py client. Use it in a ``with`` statement, or call ``close()``.
    """

    postgres: psycopg.Connection
    mongo: Database[Document]
    redis: redis.Redis
    addresses: Addresses

    @property
    def redis_database(self) -> int | None:
        """The number of the logical database in Redis; ``None`` means the server's default."""
        number: int | None = self.redis.connection_pool.connection_kwargs.get("db")
        return number

    def _closers(self) -> Sequence[Callable[[], Any]]:
        return self.postgres.close, self.mongo.client.close, self.redis.close

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.mongo.name}>"


def connect_all(
    addresses: Addresses,
    *,
    database: str | None = None,
    redis_database: int | None = None,
    limits: Limits | None = None,
) -> Stores:
    """Connect to the three stores: to the databases in the addresses, or to the given ones.

    With ``limits``, a store that takes longer than its limit, or one second more, raises an error;
    without, requests wait as long as the store takes.

    Raises ``StoreError`` for the first store that does not respond; no connection stays open then.
    """
    return _connect(addresses, database, database, redis_database, limits=limits)


def connect_again(
    stores: Stores,
    addresses: Addresses | None = None,
    *,
    limits: Limits | None = None,
    kind: type[psycopg.Connection[Any]] = psycopg.Connection,
    listeners: Sequence[CommandListener] = (),
) -> Stores:
    """Connect to the databases of ``stores`` with new connections, optionally at other addresses.

    ``kind`` is the class of the connection to PostgreSQL (without ``limits``), ``listeners``
    receive MongoDB's commands. Raises ``StoreError`` as ``connect_all`` does.
    """
    return _connect(
        stores.addresses if addresses is None else addresses,
        stores.postgres.info.dbname,
        stores.mongo.name,
        stores.redis_database,
        limits=limits,
        kind=kind,
        listeners=listeners,
    )


def _connect(
    addresses: Addresses,
    postgres_database: str | None,
    mongo_database: str | None,
    redis_database: int | None,
    *,
    limits: Limits | None,
    kind: type[psycopg.Connection[Any]] = psycopg.Connection,
    listeners: Sequence[CommandListener] = (),
) -> Stores:
    def seconds(store: StoreName) -> float | None:
        return None if limits is None else limits.seconds(store)

    with contextlib.ExitStack() as opened:
        if limits is not None:
            kind = LimitedConnection
        postgres = connect_postgres(addresses.coordinator, database=postgres_database, kind=kind)
        opened.callback(postgres.close)
        if limits is not None and isinstance(postgres, LimitedConnection):
            with explaining("PostgreSQL", addresses.coordinator):
                limit(postgres, limits)
        mongo = connect_mongo(
            addresses.mongo,
            database=mongo_database,
            listeners=listeners,
            answer_seconds=seconds("MongoDB"),
        )
        opened.callback(mongo.client.close)
        client = connect_redis(
            addresses.redis, database=redis_database, answer_seconds=seconds("Redis")
        )
        opened.pop_all()
    return Stores(postgres, mongo, client, addresses)
