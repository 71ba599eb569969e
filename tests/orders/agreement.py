"""Whether orders, ledger and Redis agree: asked of the stores directly, not of the code."""

from __future__ import annotations

from collections import Counter

from helpers.stores import Stores
from tests.stock.agreement import assert_agreement, sold


def ordered(stores: Stores) -> Counter[int]:
    """Return how many units of each product were ordered."""
    rows = stores.postgres.execute(
        "SELECT product_id, sum(quantity)::bigint FROM orders GROUP BY product_id"
    )
    return Counter(dict(rows.fetchall()))


def assert_all_agree(stores: Stores) -> None:
    """Assert that there is an order for every sale and a sale for every order, and the counts."""
    orders = stores.postgres.execute(
        "SELECT product_id, 'reservation:order-' || id, -quantity FROM orders"
    )
    sales = stores.postgres.execute(
        "SELECT product_id, movement, quantity FROM stock_movements WHERE reason = 'sale'"
    )
    assert sorted(orders.fetchall()) == sorted(sales.fetchall())
    assert ordered(stores) == sold(stores.postgres)
    assert_agreement(stores.postgres, stores.redis)
