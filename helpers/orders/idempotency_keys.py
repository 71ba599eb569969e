"""Keys: a client's own names for its orders, so that a request that is repeated is one order.

A key is written with the order, in one transaction, under the product's lock: it is there if and
only if the order is, and of two orders under one key the second is undone. The table is distributed
by the product and colocated with the orders, so that one node is asked for a key. For the same
reason a key is one product's: under the same key, each product has an order of its own.

Redis keeps the number under which an order is being placed just now, so that requests at the same
time hold the same units, not units for each. What it has lost costs nothing but such units, for a
while: the table decides.
"""

from __future__ import annotations

import psycopg
import redis

from helpers.catalog.model import Order
from helpers.orders.order_rows import SELECT, order_of
from helpers.stock.lua_scripts import Script
from helpers.stock.redis_keys import REMEMBER_MILLISECONDS

TABLE = """
CREATE TABLE order_keys (
    product_id bigint NOT NULL,
    key text NOT NULL,
    order_id bigint NOT NULL,
    PRIMARY KEY (product_id, key)
)
"""
SPREAD = "SELECT create_distributed_table('order_keys', 'product_id', colocate_with => 'products')"

_ADD = """
INSERT INTO order_keys (product_id, key, order_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""
_FIND = f"""
{SELECT}
JOIN order_keys ON order_keys.product_id = orders.product_id AND order_keys.order_id = orders.id
WHERE order_keys.product_id = %s AND order_keys.key = %s
"""

_NUMBER = Script("number")


class KeyTakenError(Exception):
    """There is an order under this key already. Its transaction has to be undone."""


def write_key(connection: psycopg.Connection, product_id: int, key: str, order_id: int) -> None:
    """Write which order the key names, in the transaction that writes the order.

    The caller holds the product's lock. Raises ``KeyTakenError`` where the key names another order.
    """
    if connection.execute(_ADD, (product_id, key, order_id)).rowcount == 0:
        raise KeyTakenError


def find_by_key(connection: psycopg.Connection, product_id: int, key: str) -> Order | None:
    """Return the order that the key names; ``None`` where there is none."""
    row = connection.execute(_FIND, (product_id, key)).fetchone()
    return None if row is None else order_of(row)


def agree_on_number(
    client: redis.Redis, request: tuple[int, int, int, str], proposal: int, *, given_up: int = 0
) -> int:
    """Return the number under which all who make the same request place their order.

    ``request`` is the product, the quantity, the customer and the key. The number is ``proposal``
    where none was agreed on yet, or where that one is ``given_up``.

    Raises ``redis.RedisError``.
    """
    name = "shop:order-number:" + ":".join(map(str, request))
    return int(_NUMBER.run(client, [name], [proposal, given_up, REMEMBER_MILLISECONDS]))
