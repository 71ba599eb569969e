"""The three stores of one shop, connected: the drivers' own objects, nothing between."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg
import redis
from pymongo.database import Database

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


@dataclass(frozen=True)
class Stores:
    """One shop's three stores.

    ``postgres`` is a psycopg connection to the coordinator (autocommit), ``mongo`` a PyMongo
    database, ``redis`` a redis-py client. Use it in a ``with`` statement, or call ``close()``.
    """

    postgres: psycopg.Connection
    mongo: Database[Document]
    redis: redis.Redis
    addresses: Addresses

    def close(self) -> None:
        """Close all three connections."""
        self.postgres.close()
        self.mongo.client.close()
        self.redis.close()

    def explaining(self) -> AbstractContextManager[None]:
        """Turn any error of the three drivers into a ``StoreError``, for use at the very top."""
        return explaining_all(self.addresses)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stores of {self.mongo.name}>"


def connect_all(
    addresses: Addresses,
    *,
    database: str | None = None,
    redis_database: int | None = None,
    limits: Limits | None = None,
) -> Stores:
    """Connect to the three stores: to the databases that the addresses name, or to those given.

    With ``limits``, no answer is waited for longer than they allow its store, or a second more;
    else whoever asks waits as long as the store takes.

    Raises ``StoreError`` for the first store that does not answer; nothing stays open then.
    """

    def seconds(store: StoreName) -> float | None:
        return None if limits is None else limits.seconds(store)

    with contextlib.ExitStack() as opened:
        postgres = _connect_postgres(addresses.coordinator, database, limits)
        opened.callback(postgres.close)
        mongo = connect_mongo(addresses.mongo, database=database, answer_seconds=seconds("MongoDB"))
        opened.callback(mongo.client.close)
        client = connect_redis(
            addresses.redis, database=redis_database, answer_seconds=seconds("Redis")
        )
        opened.pop_all()
    return Stores(postgres, mongo, client, addresses)


def _connect_postgres(url: str, database: str | None, limits: Limits | None) -> psycopg.Connection:
    if limits is None:
        return connect_postgres(url, database=database)
    connection = connect_postgres(url, database=database, kind=LimitedConnection)
    with explaining("PostgreSQL", url):
        limit(connection, limits)
    return connection
