"""The rows of an order in Citus: the order, and the idempotency key that a client gave it.

A key is written with the order, in one transaction, while the product is locked: the key exists if
and only if the order does, and of two orders under one key the second is rolled back. The table of
keys is distributed by product and colocated with the orders, so a lookup goes to one node. For that
reason a key belongs to one product: under the same key, each product has a separate order.

Redis stores the number under which an order is being placed, so that concurrent requests with the
same key reserve the same units rather than units for each request. If Redis loses the number, some
units are reserved twice until their deadline; the table of keys still decides.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import psycopg
import redis

from helpers import validation
from helpers.catalog.model import Order
from helpers.errors import StockError
from helpers.stock.lua_scripts import run_script
from helpers.stock.redis_keys import REMEMBER_MILLISECONDS

KEYS_TABLE = """
CREATE TABLE order_keys (
    product_id bigint NOT NULL,
    key text NOT NULL,
    order_id bigint NOT NULL,
    PRIMARY KEY (product_id, key)
)
"""
DISTRIBUTE_KEYS = (
    "SELECT create_distributed_table('order_keys', 'product_id', colocate_with => 'products')"
)

#: The first id of an order that is placed. Generated orders have ids from 1. The sequence
#: ends at 2**53 - 1, the largest integer that JavaScript represents exactly.
FIRST_ORDER = 1_000_000_000_001

# The columns that ``order_from_row`` takes.
_COLUMNS = "orders.id, orders.product_id, orders.customer_id, orders.quantity, orders.order_date"

_INSERT = f"""
INSERT INTO orders (id, product_id, customer_id, quantity) VALUES (%s, %s, %s, %s)
RETURNING {_COLUMNS}
"""  # noqa: S608  # put together from constants
_FIND = f"SELECT {_COLUMNS} FROM orders WHERE id = %s"  # noqa: S608
_INSERT_KEY = """
INSERT INTO order_keys (product_id, key, order_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""
_FIND_BY_KEY = f"""
SELECT {_COLUMNS} FROM orders
JOIN order_keys ON order_keys.product_id = orders.product_id AND order_keys.order_id = orders.id
WHERE order_keys.product_id = %s AND order_keys.key = %s
"""  # noqa: S608

_TOKEN = re.compile(r"order-([1-9][0-9]{0,18})", re.ASCII)


class KeyTakenError(Exception):
    """The key belongs to another order: the transaction must be rolled back."""


def insert_order(
    connection: psycopg.Connection, number: int, product_id: int, customer_id: int, quantity: int
) -> Order:
    """Insert an order in the current transaction, and return it."""
    row = connection.execute(_INSERT, (number, product_id, customer_id, quantity)).fetchone()
    return _order_from_row(row)


def find_order(connection: psycopg.Connection, number: int) -> Order | None:
    """Return the order with this id, or ``None``. The query goes to all shards."""
    row = connection.execute(_FIND, [number]).fetchone()
    return None if row is None else _order_from_row(row)


def write_key(connection: psycopg.Connection, product_id: int, key: str, order_id: int) -> None:
    """Write which order a key belongs to, in the transaction that writes the order.

    The caller holds the product's lock. Raises ``KeyTakenError`` if the key exists.
    """
    if connection.execute(_INSERT_KEY, (product_id, key, order_id)).rowcount == 0:
        raise KeyTakenError


def find_by_key(connection: psycopg.Connection, product_id: int, key: str) -> Order | None:
    """Return the order that a key belongs to, or ``None``. The query goes to one shard."""
    row = connection.execute(_FIND_BY_KEY, (product_id, key)).fetchone()
    return None if row is None else _order_from_row(row)


def agree_on_number(
    client: redis.Redis, request: tuple[int, int, int, str], proposal: int, *, given_up: int = 0
) -> int:
    """Return the number under which all clients with the same request place their order.

    ``request`` is (product id, quantity, customer id, key). Stores ``proposal`` if Redis has no
    number yet, or if its number is ``given_up``.

    Raises ``redis.RedisError``.
    """
    redis_key = "shop:order-number:" + ":".join(map(str, request))
    arguments = [proposal, given_up, REMEMBER_MILLISECONDS]
    return int(run_script(client, "order_number", [redis_key], arguments))


def token_of(number: int) -> str:
    """Return the token of an order's reservation and sale."""
    return f"order-{number}"


def number_of(token: object) -> int:
    """Return the number of an order from its token.

    Raises ``StockError`` if ``token`` is not the token of an order.
    """
    found = _TOKEN.fullmatch(token) if isinstance(token, str) else None
    number = 0 if found is None else int(found[1])
    if number < FIRST_ORDER:
        raise StockError(
            f"{token!r:.60} is not the token of an order: use one from Orders.new_token(), or none."
        )
    return validation.identifier(number, "order")


def _order_from_row(row: Any) -> Order:
    order_id, product_id, customer_id, quantity, order_date = row
    assert isinstance(order_date, datetime)
    return Order(
        order_id, product_id, customer_id, quantity, order_date.astimezone(UTC).isoformat()
    )
