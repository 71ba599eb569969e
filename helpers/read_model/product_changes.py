"""Change products and announce it: each change gets a version number and a stream entry.

PostgreSQL has no change stream that an application can read without becoming a replica. So the
writer of a change announces it in Redis after the transaction: ``announce`` increments the version
and names the products. If the writer crashes in between, the announcement is lost, and views stay
stale until they are rebuilt; lesson 06 closes that gap with an outbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import redis

from helpers.stores import Stores
from helpers.validation import product_ids

#: The number of changes announced so far.
VERSION = "shop:products:version"

#: A stream with one entry per announcement: the products that changed.
PRODUCT_CHANGES = "shop:product-changes"

_MAX_ENTRIES = 10_000


def announce(client: redis.Redis, changed: Iterable[int]) -> int:
    """Announce that products have changed in PostgreSQL, and return the new version.

    Raises ``StockError`` for an invalid id, and ``redis.RedisError``.
    """
    ids = ",".join(map(str, product_ids(changed)))
    with client.pipeline(transaction=True) as pipeline:
        pipeline.incr(VERSION)
        pipeline.xadd(PRODUCT_CHANGES, {"products": ids}, maxlen=_MAX_ENTRIES, approximate=True)
        version, _ = pipeline.execute()
    return int(version)


def set_price(stores: Stores, product_id: int, price: Decimal) -> int:
    """Change the price of a product, announce it, and return the new version.

    Raises ``psycopg.Error`` (``CheckViolation`` for a negative price) and ``redis.RedisError``.
    """
    stores.postgres.execute("UPDATE products SET price = %s WHERE id = %s", [price, product_id])
    return announce(stores.redis, [product_id])
