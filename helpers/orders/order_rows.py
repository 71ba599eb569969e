"""Rows of ``orders`` as orders, and the names that orders have in Redis and in the ledger."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from helpers import validation
from helpers.catalog.model import Order
from helpers.errors import StockError

#: The first id of an order that is placed. Generated ones are numbered from 1, far below; and a
#: client written in JavaScript holds whole numbers up to 2**53 - 1, where the sequence ends.
FIRST_ORDER = 1_000_000_000_001

# What ``order_of`` takes.
_COLUMNS = "orders.id, orders.product_id, orders.customer_id, orders.quantity, orders.order_date"

#: Adds an order, and returns its row.
ADD = f"""
INSERT INTO orders (id, product_id, customer_id, quantity) VALUES (%s, %s, %s, %s)
RETURNING {_COLUMNS}
"""  # noqa: S608  # put together from constants

#: Returns the rows of all orders: a condition may follow, or another table joined.
SELECT = f"SELECT {_COLUMNS} FROM orders"  # noqa: S608

_TOKEN = re.compile(r"order-([1-9][0-9]{0,18})", re.ASCII)


def order_of(row: Any) -> Order:
    """Return the order of a row that ``ADD`` or ``SELECT`` returned."""
    number, product, customer, units, moment = row
    assert isinstance(moment, datetime)
    return Order(number, product, customer, units, moment.astimezone(UTC).isoformat())


def token_of(number: int) -> str:
    """Return the name of an order, by its id: its reservation and its sale have it."""
    return f"order-{number}"


def number_of(token: object) -> int:
    """Return the id in the name of an order. Raises ``StockError`` where it is no such name."""
    found = _TOKEN.fullmatch(token) if isinstance(token, str) else None
    number = 0 if found is None else int(found[1])
    if number < FIRST_ORDER:
        raise StockError(
            f"{token!r:.60} is no order's token: take one from Orders.new_token(), or give none."
        )
    return validation.identifier(number, "order")
