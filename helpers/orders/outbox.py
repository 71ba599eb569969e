"""The outbox: what MongoDB has to learn of an order is written with it, and carried there later.

No transaction spans Citus and MongoDB. So the row in ``order_outbox`` is written in the order's own
transaction: it is there if and only if the order is. ``relay`` carries rows to MongoDB, and deletes
each only after MongoDB has acknowledged it, to its journal. Whatever ends a relay, and however many
run at once, each row is carried at least once.

At least once is enough, since nothing that is written there depends on how often, or in which
order:

- ``sales`` has one document for each product: how many orders, how many units. A row does not say
  "one more", which would have to be remembered to be counted once. It says how many there are with
  this order. The row is written under the product's lock, where orders come one after another, so
  these numbers only grow; and ``$max`` keeps the largest, which is the newest.
- ``purchases`` has one document for each customer and product that he ordered, however often. It is
  written where it is not there yet.

Both are named by their ``_id``, the one index that every collection has. They are as large as the
products and the pairs, not as the orders, and no guard has to be kept of what was carried.
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
SPREAD = (
    "SELECT create_distributed_table('order_outbox', 'product_id', colocate_with => 'products')"
)

#: The collections that ``relay`` writes.
SALES, PURCHASES = "sales", "purchases"

# All orders of one product stand on one node, as the row does. They are read for each new one, as
# the ledger reads all movements: that grows with them, and a total kept beside them would not.
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

#: Neither a crash of MongoDB nor a change of its primary may lose what is then deleted here.
KEPT = WriteConcern(w="majority", j=True)

_DUPLICATE = 11000
_TRIES = 20
_MOST_ROWS = 10_000
_MOST_PRODUCTS = 1000


@dataclass(frozen=True)
class Together:
    """A product that ``customers`` customers have ordered who ordered a given one, too."""

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
    """Create the indexes that ``bought_together`` uses, where they are not there."""
    database[PURCHASES].create_indexes(
        [
            IndexModel([("product_id", ASCENDING), ("customer_id", ASCENDING)]),
            IndexModel([("customer_id", ASCENDING), ("product_id", ASCENDING)]),
        ]
    )


def drop_sales(database: Database[Document]) -> None:
    """Drop what ``relay`` has written."""
    database[SALES].drop()
    database[PURCHASES].drop()


def relay(stores: Stores, *, most: int = 500, hook: StepHook | None = None) -> int:
    """Carry the oldest rows of the outbox, up to ``most``, to MongoDB; return how many.

    0 means that there were none. Any number may run at once, each with stores of its own: several
    may carry the same row, and each counts it. ``hook`` is told of the steps ``carry`` and
    ``delete``, each of all these rows.

    Raises ``StockError`` where ``most`` is no number from 1 to 10,000, ``psycopg.Error`` and
    ``pymongo.errors.PyMongoError``: then the rows stay, and are carried by the next call.
    """
    validation.most(most, _MOST_ROWS, "rows cannot be carried at once")
    rows = _read(stores.postgres, most)
    if rows:
        with run_hook(hook, "carry"):
            _write(stores.mongo, rows)
        with run_hook(hook, "delete"):
            _delete(stores.postgres, rows)
    return len(rows)


def bought_together(
    database: Database[Document], product_id: int, *, most: int = 5
) -> list[Together]:
    """Return the products that most customers ordered who also ordered this one, most first.

    Of equal ones, the one with the smaller id comes first. As new as the last ``relay``.

    Raises ``StockError`` for arguments that are not what they must be, and
    ``pymongo.errors.PyMongoError``.
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
        Together(int(one["_id"]), int(one["customers"]))
        for one in database[PURCHASES].aggregate(stages)
    ]


def pair_id(customer_id: int, product_id: int) -> str:
    """Return the ``_id`` of a customer and a product in ``purchases``."""
    return f"{customer_id}:{product_id}"


def _read(connection: psycopg.Connection, most: int) -> list[_Row]:
    return [_Row(*row) for row in connection.execute(_OLDEST, [most])]


def _write(database: Database[Document], rows: Sequence[_Row]) -> None:
    """Write what the rows say. Done again, in any order, by anybody, it changes nothing more."""
    newest = {row.product_id: row for row in sorted(rows, key=lambda row: row.orders)}
    sales = [
        UpdateOne(
            {"_id": one},
            {
                "$max": {"orders": row.orders, "units": row.units},
                "$setOnInsert": {"product_id": one},
            },
            upsert=True,
        )
        for one, row in sorted(newest.items())
    ]
    pairs = sorted({(row.customer_id, row.product_id) for row in rows})
    purchases = [
        UpdateOne(
            {"_id": pair_id(customer, product)},
            {"$setOnInsert": {"customer_id": customer, "product_id": product}},
            upsert=True,
        )
        for customer, product in pairs
    ]
    for name, writes in ((PURCHASES, purchases), (SALES, sales)):
        collection = database.get_collection(name, write_concern=KEPT)
        repeat(partial(collection.bulk_write, writes, ordered=False), inserted_at_once)


def _delete(connection: psycopg.Connection, rows: Sequence[_Row]) -> None:
    products = sorted({row.product_id for row in rows})
    numbers = sorted(row.order_id for row in rows)
    repeat(partial(connection.execute, _DELETE, [products, numbers]), _deleted_at_once)


def inserted_at_once(error: Exception) -> bool:
    """Tell whether another relay inserted the same document between our look and our insert."""
    if not isinstance(error, BulkWriteError):
        return False
    found = error.details.get("writeErrors", [])
    return (
        bool(found)
        and not error.details.get("writeConcernErrors")
        and all(one["code"] == _DUPLICATE for one in found)
    )


def _deleted_at_once(error: Exception) -> bool:
    """Tell whether another relay was deleting the same rows."""
    return isinstance(error, errors.SerializationFailure | errors.DeadlockDetected)


def repeat(act: Callable[[], object], may_repeat: Callable[[Exception], bool]) -> None:
    """Do ``act``, again where another relay came in between: that one has got on."""
    for left in reversed(range(_TRIES)):
        try:
            act()
        except Exception as error:
            if not left or not may_repeat(error):
                raise
        else:
            return
