"""Changing products so that others can tell: each change has a number, and a place in a stream.

PostgreSQL has no stream of changes that an application may read without being made a replica. So
whoever changes a product announces it in Redis, after the transaction: ``announce`` counts the
version up and names the products. An announcement that is lost, because its writer died in between,
leaves copies stale until they are rebuilt; lesson 06 closes that gap with an outbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import redis

from helpers.stores import Stores
from helpers.validation import product_ids

#: How many changes to products were announced so far.
VERSION = "shop:products:version"

#: Stream: which products changed, one announcement after another.
PRODUCT_CHANGES = "shop:product-changes"

_KEPT = 10_000


def announce(client: redis.Redis, changed: Iterable[int]) -> int:
    """Announce that products have changed in PostgreSQL, and return the new version.

    Raises ``StockError`` for an id that is none, and ``redis.RedisError``.
    """
    ids = ",".join(map(str, product_ids(changed)))
    with client.pipeline(transaction=True) as pipeline:
        pipeline.incr(VERSION)
        pipeline.xadd(PRODUCT_CHANGES, {"products": ids}, maxlen=_KEPT, approximate=True)
        version, _ = pipeline.execute()
    return int(version)


def set_price(stores: Stores, product_id: int, price: Decimal) -> int:
    """Change the price of a product, announce it, and return the new version.

    Raises ``psycopg.Error`` (a price below zero is a ``CheckViolation``) and ``redis.RedisError``.
    """
    stores.postgres.execute("UPDATE products SET price = %s WHERE id = %s", [price, product_id])
    return announce(stores.redis, [product_id])
