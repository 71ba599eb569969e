"""Connect to the databases of some stores again: in pools, for threads and for an event loop."""

from __future__ import annotations

from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, connect_async
from helpers.stores.connection_limits import Limits
from helpers.stores.pooled_stores import PooledStores, connect_pooled


def connect_pooled_again(stores: Stores, *, limits: Limits | None = None) -> PooledStores:
    """Connect to the databases of ``stores`` for threads, through the same proxies if any."""
    return connect_pooled(
        stores.addresses,
        database=stores.mongo.name,
        redis_database=stores.redis_database,
        limits=limits,
    )


async def connect_async_again(stores: Stores, *, limits: Limits | None = None) -> AsyncStores:
    """Connect to the databases of ``stores`` in an event loop, through the same proxies if any."""
    return await connect_async(
        stores.addresses,
        database=stores.mongo.name,
        redis_database=stores.redis_database,
        limits=limits,
    )
