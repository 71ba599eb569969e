"""PostgreSQL and Redis for many threads: the drivers' clients, in pools with time limits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers.settings import Addresses
from helpers.stores.connect import explaining
from helpers.stores.connection_limits import Limits
from helpers.stores.postgres_pools import Pool
from helpers.stores.stores import BlockingClients


@dataclass(frozen=True, repr=False)
class PooledStores(BlockingClients):
    """The two stores that orders and stock are written to, for any number of threads.

    ``postgres`` is a pool of psycopg connections to the coordinator (autocommit), ``redis`` a
    redis-py client with its own pool. Requests after a server's restart do not fail. For this,
    redis-py sends a command again if its connection was lost, so send only commands that are safe
    to repeat. Use it in a ``with`` statement, or call ``close()``.
    """

    postgres: Pool
    redis: redis.Redis
    addresses: Addresses

    def _closers(self) -> Sequence[Callable[[], Any]]:
        return self.redis.close, self.postgres.close


def connect_pooled(
    addresses: Addresses,
    *,
    database: str | None = None,
    redis_database: int | None = None,
    limits: Limits | None = None,
) -> PooledStores:
    """Connect to PostgreSQL and Redis: to the databases in the addresses, or to the given ones.

    Raises ``StoreError`` for the first store that does not respond; no connection stays open then.
    """
    limits = limits or Limits()
    with contextlib.ExitStack() as opened:
        with explaining("PostgreSQL", addresses.coordinator):
            postgres = Pool(addresses.coordinator, database, limits)
            opened.callback(postgres.close)
            # A pool reports only that it has no connection; a single one reports the cause.
            postgres.probe()
            postgres.open()
        with explaining("Redis", addresses.redis):
            client = _redis(addresses.redis, redis_database, limits)
            opened.callback(client.close)
            client.ping()
        opened.pop_all()
    return PooledStores(postgres, client, addresses)


def _redis(url: str, database: int | None, limits: Limits) -> redis.Redis:
    pool = redis.BlockingConnectionPool.from_url(
        url,
        # Not after a timeout: that would wait twice for a server that is unresponsive.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **limits.for_redis(),
    )
    if database is not None:
        pool.connection_kwargs["db"] = database
    return redis.Redis.from_pool(pool)
