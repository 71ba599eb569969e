"""The dual-write problem: write an order to PostgreSQL, then count it in MongoDB, or the reverse.

Each write is atomic, but the two together are not: a crash between them leaves only one done, and a
retry after a crash repeats both. There is no idempotency key, no outbox and no reconciliation. The
table and the collection belong to this module; the shop's orders are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import psycopg
from pymongo.database import Database

from helpers.stock.step_hooks import StepHook, run_hook
from helpers.stores import Document, Stores

#: Which of the two writes comes first.
DualWriteStrategy = Literal["postgres first", "mongo first"]

#: The step ``order`` writes the order to PostgreSQL, ``count`` counts it in MongoDB.
DUAL_WRITE_STEPS: Mapping[DualWriteStrategy, tuple[str, str]] = {
    "postgres first": ("order", "count"),
    "mongo first": ("count", "order"),
}

#: The table in PostgreSQL and the collection in MongoDB.
ORDERS, SALES = "plain_orders", "plain_sales"

_TABLE = """
CREATE TABLE plain_orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    quantity bigint NOT NULL
)
"""
_ADD = """
INSERT INTO plain_orders (product_id, customer_id, quantity) VALUES (%s, %s, %s) RETURNING id
"""


@dataclass(frozen=True)
class Sale:
    """``quantity`` units of a product, sold to a customer."""

    product: int
    quantity: int
    customer: int


def create_dual_write_tables(stores: Stores) -> None:
    """Create the table and the collection, empty. Raises the drivers' errors."""
    drop_dual_write_tables(stores)
    stores.postgres.execute(_TABLE)


def drop_dual_write_tables(stores: Stores) -> None:
    """Drop the table and the collection if they exist. Raises the drivers' errors."""
    stores.postgres.execute("DROP TABLE IF EXISTS plain_orders")
    stores.mongo[SALES].drop()


def place_with_dual_write(
    sale: Sale,
    postgres: Callable[[], psycopg.Connection],
    mongo: Callable[[], Database[Document]],
    *,
    strategy: DualWriteStrategy,
    hook: StepHook | None = None,
) -> int:
    """Write the order and count it, in the order given by ``strategy``; return the order's number.

    ``postgres`` and ``mongo`` return a connection when it is needed; ``hook`` is called before and
    after each step. Raises the drivers' errors; completed writes are not undone.
    """
    number = 0
    for step in DUAL_WRITE_STEPS[strategy]:
        with run_hook(hook, step):
            if step == "order":
                number = write_order(postgres(), sale)
            else:
                count_sale(mongo(), sale)
    return number


def write_order(connection: psycopg.Connection, sale: Sale) -> int:
    """Write the order, and return its number."""
    row = connection.execute(_ADD, (sale.product, sale.customer, sale.quantity)).fetchone()
    assert row is not None
    return int(row[0])


def count_sale(database: Database[Document], sale: Sale) -> None:
    """Count one order more of the product, and of this customer among them."""
    database[SALES].update_one(
        {"_id": sale.product},
        {"$inc": {"orders": 1, "units": sale.quantity, f"by.{sale.customer}": 1}},
        upsert=True,
    )
