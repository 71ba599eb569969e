"""The transactional outbox: rows written with an order, which a relay later writes to MongoDB.

No transaction spans Citus and MongoDB. So the row in ``order_outbox`` is written in the order's own
transaction: it exists if and only if the order does. ``relay`` writes rows to MongoDB, and deletes
each only after MongoDB has acknowledged the write to its journal. Relays may crash, and any number
may run at once: each row is delivered at least once.

At-least-once delivery is enough because the writes are idempotent and their order does not matter:

- ``sales`` has one document for each product: its number of orders and of units. A row does not say
  "one more", which would require remembering which rows were counted. It has the totals including
  its order. It is written under the product's lock, so the orders of a product are serialized and
  these totals only grow; ``$max`` keeps the largest, which is the latest.
- ``purchases`` has one document for each customer and product, however often the customer ordered
  it. It is inserted if it does not exist.

Both use ``_id`` as their key, the one index that every collection has. They grow with the number of
products and pairs, not of orders, and no record of relayed rows has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import errors
from pymongo import ASCENDING, IndexModel, UpdateOne, WriteConcern
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from helpers import validation
from helpers.stock.step_hooks import StepHook, run_hook
from helpers.stores import Document, Stores

TABLE = """
CREATE TABLE order_outbox (
    product_id bigint NOT NULL,
    order_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (product_id, order_id)
)
"""
DISTRIBUTE = (
    "SELECT create_distributed_table('order_outbox', 'product_id', colocate_with => 'products')"
)

#: The collections that ``relay`` writes.
SALES, PURCHASES = "sales", "purchases"

# All orders of a product are on the node of this row. Every new order counts all of them, as the
# ledger sums all movements: that gets slower as they grow, and a stored total would not.
_ADD = """
INSERT INTO order_outbox (product_id, order_id, customer_id, orders, units)
SELECT product_id, %s, %s, count(*), sum(quantity) FROM orders WHERE product_id = %s
GROUP BY product_id
"""
_OLDEST = """
SELECT product_id, order_id, customer_id, orders, units FROM order_outbox
ORDER BY recorded_at, order_id LIMIT %s
"""
_DELETE = "DELETE FROM order_outbox WHERE product_id = ANY(%s) AND order_id = ANY(%s)"
_FIND = "SELECT customer_id, orders FROM order_outbox WHERE product_id = %s AND order_id = %s"

#: A write that is acknowledged survives a crash of MongoDB and a change of its primary. The row of
#: the outbox is deleted after that.
DURABLE = WriteConcern(w="majority", j=True)

_DUPLICATE_KEY = 11000
_TRIES = 20
_MOST_ROWS = 10_000
_MOST_PRODUCTS = 1000


@dataclass(frozen=True)
class Together:
    """A product, and how many ``customers`` ordered it as well as a given product."""

    product_id: int
    customers: int


@dataclass(frozen=True)
class _Row:
    product_id: int
    order_id: int
    customer_id: int
    orders: int
    units: int


def write_outbox(
    connection: psycopg.Connection, product_id: int, order_id: int, customer_id: int
) -> None:
    """Write the row of an order, in the order's transaction and after the order.

    The caller holds the product's lock.
    """
    connection.execute(_ADD, (order_id, customer_id, product_id))


def prepare_sales(database: Database[Document]) -> None:
    """Create the indexes that ``bought_together`` uses, if they do not exist."""
    database[PURCHASES].create_indexes(
        [
            IndexModel([("product_id", ASCENDING), ("customer_id", ASCENDING)]),
            IndexModel([("customer_id", ASCENDING), ("product_id", ASCENDING)]),
        ]
    )


def drop_sales(database: Database[Document]) -> None:
    """Drop the collections that ``relay`` writes."""
    database[SALES].drop()
    database[PURCHASES].drop()


def relay(stores: Stores, *, most: int = 500, hook: StepHook | None = None) -> int:
    """Relay up to ``most`` of the oldest rows of the outbox to MongoDB; return how many.

    Any number of relays may run at once, each with its own stores: several may relay the same row,
    and each counts it. ``hook`` is called around the steps ``relay`` and ``acknowledge``, each of
    which processes all these rows.

    Raises ``StockError`` if ``most`` is not a number from 1 to 10,000, ``psycopg.Error`` and
    ``pymongo.errors.PyMongoError``: then the rows stay, and the next call relays them.
    """
    validation.most(most, _MOST_ROWS, "rows cannot be relayed at once")
    rows = _read(stores.postgres, most)
    if rows:
        with run_hook(hook, "relay"):
            _write(stores.mongo, rows)
        with run_hook(hook, "acknowledge"):
            _delete(stores.postgres, rows)
    return len(rows)


def is_relayed(stores: Stores, product_id: int, order_id: int) -> bool | None:
    """Return whether MongoDB has what an order's row says, or ``None`` if there is no row."""
    row = stores.postgres.execute(_FIND, [product_id, order_id]).fetchone()
    if row is None:
        return None
    customer_id, orders = row
    sales = stores.mongo[SALES].find_one({"_id": product_id, "orders": {"$gte": orders}})
    purchase = stores.mongo[PURCHASES].find_one({"_id": pair_id(customer_id, product_id)})
    return sales is not None and purchase is not None


def bought_together(
    database: Database[Document], product_id: int, *, most: int = 5
) -> list[Together]:
    """Return the products that were bought by most of this product's customers, most first.

    Ties are sorted by product id. The result is as current as the last ``relay``.

    Raises ``StockError`` for invalid arguments and ``pymongo.errors.PyMongoError``.
    """
    product = validation.identifier(product_id, "product")
    validation.most(most, _MOST_PRODUCTS, "products cannot be asked for")
    stages: list[dict[str, Any]] = [
        {"$match": {"product_id": product}},
        {
            "$lookup": {
                "from": PURCHASES,
                "localField": "customer_id",
                "foreignField": "customer_id",
                "as": "other",
            }
        },
        {"$unwind": "$other"},
        {"$match": {"other.product_id": {"$ne": product}}},
        {"$group": {"_id": "$other.product_id", "customers": {"$sum": 1}}},
        {"$sort": {"customers": -1, "_id": 1}},
        {"$limit": most},
    ]
    return [
        Together(int(group["_id"]), int(group["customers"]))
        for group in database[PURCHASES].aggregate(stages)
    ]


def pair_id(customer_id: int, product_id: int) -> str:
    """Return the ``_id`` of a customer and a product in ``purchases``."""
    return f"{customer_id}:{product_id}"


def _read(connection: psycopg.Connection, most: int) -> list[_Row]:
    return [_Row(*row) for row in connection.execute(_OLDEST, [most])]


def _write(database: Database[Document], rows: Sequence[_Row]) -> None:
    """Write the rows to MongoDB. Idempotent, in any order and by any number of relays."""
    latest = {row.product_id: row for row in sorted(rows, key=lambda row: row.orders)}
    sales = [
        raise_totals(product_id, row.orders, row.units)
        for product_id, row in sorted(latest.items())
    ]
    pairs = sorted({(row.customer_id, row.product_id) for row in rows})
    purchases = [
        UpdateOne(
            {"_id": pair_id(customer_id, product_id)},
            {"$setOnInsert": {"customer_id": customer_id, "product_id": product_id}},
            upsert=True,
        )
        for customer_id, product_id in pairs
    ]
    bulk_write(database, PURCHASES, purchases)
    bulk_write(database, SALES, sales)


def raise_totals(product_id: int, orders: int, units: int) -> UpdateOne:
    """Return the write that raises the totals of a product in ``sales``, or inserts them."""
    return UpdateOne(
        {"_id": product_id},
        {"$max": {"orders": orders, "units": units}, "$setOnInsert": {"product_id": product_id}},
        upsert=True,
    )


def _delete(connection: psycopg.Connection, rows: Sequence[_Row]) -> None:
    product_ids = sorted({row.product_id for row in rows})
    order_ids = sorted(row.order_id for row in rows)
    retry(partial(connection.execute, _DELETE, [product_ids, order_ids]), is_concurrent_delete)


def bulk_write(database: Database[Document], name: str, writes: Sequence[Any]) -> None:
    """Write to a collection in one unordered batch, durably."""
    collection = database.get_collection(name, write_concern=DURABLE)
    retry(partial(collection.bulk_write, writes, ordered=False), is_concurrent_insert)


def is_concurrent_insert(error: Exception) -> bool:
    """Return whether another relay inserted the document between our read and our insert."""
    if not isinstance(error, BulkWriteError):
        return False
    write_errors = error.details.get("writeErrors", [])
    return (
        bool(write_errors)
        and not error.details.get("writeConcernErrors")
        and all(write_error["code"] == _DUPLICATE_KEY for write_error in write_errors)
    )


def is_concurrent_delete(error: Exception) -> bool:
    """Return whether another relay was deleting the same rows."""
    return isinstance(error, errors.SerializationFailure | errors.DeadlockDetected)


def retry(act: Callable[[], object], may_retry: Callable[[Exception], bool]) -> None:
    """Call ``act``, again if another relay interfered: that one has made progress."""
    for left in reversed(range(_TRIES)):
        try:
            act()
        except Exception as error:
            if not left or not may_retry(error):
                raise
        else:
            return
