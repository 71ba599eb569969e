"""Assertions that all stores agree about orders, read with queries of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from helpers.catalog.model import Order
from helpers.orders.orders import Orders
from helpers.stock import reconcile
from helpers.stores import Stores
from tests.stock.agreement import assert_agreement, reservations, sold


def ordered(stores: Stores) -> Counter[int]:
    """Return the number of units ordered of each product."""
    rows = stores.postgres.execute(
        "SELECT product_id, sum(quantity)::bigint FROM orders GROUP BY product_id"
    )
    return Counter(dict(rows.fetchall()))


def assert_all_agree(stores: Stores) -> None:
    """Assert that every order has a sale, every sale an order, and the stock counts agree."""
    orders = stores.postgres.execute(
        "SELECT product_id, 'reservation:order-' || id, -quantity FROM orders"
    )
    sales = stores.postgres.execute(
        "SELECT product_id, movement, quantity FROM stock_movements WHERE reason = 'sale'"
    )
    assert sorted(orders.fetchall()) == sorted(sales.fetchall())
    assert ordered(stores) == sold(stores.postgres)
    assert_agreement(stores.postgres, stores.redis)


def outbox_rows(stores: Stores) -> list[tuple[int, int]]:
    """Return product id and order id of each row of the outbox."""
    rows = stores.postgres.execute("SELECT product_id, order_id FROM order_outbox ORDER BY 1, 2")
    return rows.fetchall()


def assert_keys_agree(stores: Stores) -> None:
    """Assert that each key belongs to an existing order, and no two keys to the same one."""
    with_key = stores.postgres.execute("SELECT product_id, order_id FROM order_keys").fetchall()
    existing = stores.postgres.execute("SELECT product_id, id FROM orders").fetchall()
    assert len(set(with_key)) == len(with_key)
    assert set(with_key) <= set(existing)


def assert_relayed(stores: Stores) -> None:
    """Assert that the sales in MongoDB match the orders in Citus, and the outbox is empty."""
    totals = stores.postgres.execute(
        "SELECT product_id, count(*), sum(quantity)::bigint FROM orders GROUP BY product_id"
    )
    assert outbox_rows(stores) == []
    assert sorted(
        (sales["_id"], sales["product_id"], sales["orders"], sales["units"])
        for sales in stores.mongo.sales.find()
    ) == sorted((product, product, orders, units) for product, orders, units in totals)
    pairs = stores.postgres.execute("SELECT DISTINCT customer_id, product_id FROM orders")
    assert sorted(
        (purchase["customer_id"], purchase["product_id"])
        for purchase in stores.mongo.purchases.find()
    ) == sorted(pairs.fetchall())


def assert_nothing_open(stores: Stores) -> None:
    """Assert that every reservation is in a final state."""
    states = {state for state, _ in reservations(stores.redis).values()}
    assert states <= {"confirmed", "released", "expired"}


def assert_consistent(orders: Orders, stores: Stores, acknowledged: Iterable[Order] = ()) -> None:
    """Assert that all stores agree about the orders, and that nothing is left to repair.

    All ``acknowledged`` orders must exist.
    """
    orders.stock.read(sorted(orders.stock.ledger.product_ids()))
    for order in acknowledged:
        assert orders.find(order.id) == order
    assert_nothing_open(stores)
    assert_keys_agree(stores)
    assert_all_agree(stores)
    assert reconcile(orders.stock, in_doubt_seconds=0).findings == []
