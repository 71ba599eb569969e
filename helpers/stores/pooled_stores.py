"""PostgreSQL and Redis for many threads: the drivers' clients, in pools with time limits."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers.settings import Addresses
from helpers.stores.connect import explaining, explaining_all
from helpers.stores.connection_limits import Limits
from helpers.stores.postgres_pools import Pool
from helpers.stores.stores import Stores


@dataclass(frozen=True)
class PooledStores:
    """The two stores that orders and stock are written to, for any number of threads.

    ``postgres`` is a pool of psycopg connections to the coordinator (autocommit), ``redis`` a
    redis-py client with a pool of its own. A server that was started again is no error to whoever
    asks next; in Redis a command whose connection was lost is therefore sent once more, so send
    only what may come twice. Use it in a ``with`` statement, or call ``close()``.
    """

    postgres: Pool
    redis: redis.Redis
    addresses: Addresses

    def close(self) -> None:
        """Close all connections."""
        with contextlib.ExitStack() as closing:
            closing.callback(self.redis.close)
            closing.callback(self.postgres.close)

    def explaining(self) -> AbstractContextManager[None]:
        """Turn any error of the drivers into a ``StoreError``, for use at the very top."""
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
        return f"<PooledStores of {self.addresses!r}>"


def connect_pooled(
    addresses: Addresses,
    *,
    database: str | None = None,
    redis_database: int | None = None,
    limits: Limits | None = None,
) -> PooledStores:
    """Connect to PostgreSQL and Redis: to the databases that the addresses name, or to those given.

    Raises ``StoreError`` for the first store that does not answer; nothing stays open then.
    """
    limits = limits or Limits()
    with contextlib.ExitStack() as opened:
        with explaining("PostgreSQL", addresses.coordinator):
            postgres = Pool(addresses.coordinator, database, limits)
            opened.callback(postgres.close)
            # A pool says only that it got no connection; one made by hand says why.
            postgres.probe()
            postgres.open()
        with explaining("Redis", addresses.redis):
            client = _redis(addresses.redis, redis_database, limits)
            opened.callback(client.close)
            client.ping()
        opened.pop_all()
    return PooledStores(postgres, client, addresses)


def connect_pooled_beside(stores: Stores, *, limits: Limits | None = None) -> PooledStores:
    """Connect to the databases of ``stores`` once more, for threads.

    Where it is reached through links, the new connections are too. Raises ``StoreError``.
    """
    number = stores.redis.connection_pool.connection_kwargs.get("db")
    return connect_pooled(
        stores.addresses, database=stores.mongo.name, redis_database=number, limits=limits
    )


def _redis(url: str, database: int | None, limits: Limits) -> redis.Redis:
    pool = redis.BlockingConnectionPool.from_url(
        url,
        # Not after a time limit: a server that is silent would be waited for twice.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **limits.for_redis(),
    )
    if database is not None:
        pool.connection_kwargs["db"] = database
    return redis.Redis.from_pool(pool)
