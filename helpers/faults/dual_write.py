"""How not to do it: an order is written to PostgreSQL and counted in MongoDB, one after the other.

Each of the two writes is whole. Nothing makes them one: who crashes between them leaves one done
and the other not, and who is asked again after a crash does both again. There is no key, no outbox
and nobody who looks for what a crash left. The table and the collection are this module's own, so
that the shop's orders stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import psycopg
from pymongo.database import Database

from helpers.stock.step_hooks import StepHook
from helpers.stores import Document, Stores

#: Which of the two writes comes first.
PlainWay = Literal["postgres first", "mongo first"]

#: ``order`` writes the order to PostgreSQL, ``count`` counts it in MongoDB.
PLAIN_STEPS: Mapping[PlainWay, tuple[str, str]] = {
    "postgres first": ("order", "count"),
    "mongo first": ("count", "order"),
}

#: The table and the collection that are written.
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
    """``quantity`` units of a product, for a customer."""

    product: int
    quantity: int
    customer: int


def make_plain(stores: Stores) -> None:
    """Make the table and the collection anew, empty. Raises the drivers' errors."""
    drop_plain(stores)
    stores.postgres.execute(_TABLE)


def drop_plain(stores: Stores) -> None:
    """Drop the table and the collection, where they are. Raises the drivers' errors."""
    stores.postgres.execute("DROP TABLE IF EXISTS plain_orders")
    stores.mongo[SALES].drop()


def place_plainly(
    sale: Sale,
    postgres: Callable[[], psycopg.Connection],
    mongo: Callable[[], Database[Document]],
    *,
    way: PlainWay,
    hook: StepHook | None = None,
) -> int:
    """Write the order and count it, in the order that ``way`` says; return the order's number.

    ``postgres`` and ``mongo`` return a connection when it is needed; ``hook`` is told before and
    after each step. Raises the drivers' errors: what was written before stays written.
    """
    number = 0
    for step in PLAIN_STEPS[way]:
        if hook is not None:
            hook("before", step)
        if step == "order":
            number = write_order(postgres(), sale)
        else:
            count_sale(mongo(), sale)
        if hook is not None:
            hook("after", step)
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
