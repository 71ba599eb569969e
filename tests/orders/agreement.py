"""Whether all stores agree about orders: asked of the stores directly, not of the code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from helpers.catalog.model import Order
from helpers.orders.orders import Orders
from helpers.stock import reconcile
from helpers.stores import Stores
from tests.stock.agreement import assert_agreement, reservations, sold


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


def outbox_rows(stores: Stores) -> list[tuple[int, int]]:
    """Return product and order of each row of the outbox."""
    rows = stores.postgres.execute("SELECT product_id, order_id FROM order_outbox ORDER BY 1, 2")
    return rows.fetchall()


def assert_keys_agree(stores: Stores) -> None:
    """Assert that each key names an order that is there, and none two."""
    named = stores.postgres.execute("SELECT product_id, order_id FROM order_keys").fetchall()
    there = stores.postgres.execute("SELECT product_id, id FROM orders").fetchall()
    assert len(set(named)) == len(named)
    assert set(named) <= set(there)


def assert_carried(stores: Stores) -> None:
    """Assert that MongoDB has what the orders in Citus say, and nothing waits to be carried."""
    totals = stores.postgres.execute(
        "SELECT product_id, count(*), sum(quantity)::bigint FROM orders GROUP BY product_id"
    )
    assert outbox_rows(stores) == []
    assert sorted(
        (one["_id"], one["product_id"], one["orders"], one["units"])
        for one in stores.mongo.sales.find()
    ) == sorted((product, product, orders, units) for product, orders, units in totals)
    pairs = stores.postgres.execute("SELECT DISTINCT customer_id, product_id FROM orders")
    assert sorted(
        (one["customer_id"], one["product_id"]) for one in stores.mongo.purchases.find()
    ) == sorted(pairs.fetchall())


def assert_nothing_open(stores: Stores) -> None:
    """Assert that no reservation is held or being confirmed."""
    states = {state for state, _ in reservations(stores.redis).values()}
    assert states <= {"confirmed", "released", "expired"}


def assert_whole(orders: Orders, stores: Stores, acknowledged: Iterable[Order] = ()) -> None:
    """Assert that all stores say the same of the orders, and that nothing is left to repair.

    Each of those that were ``acknowledged`` is there.
    """
    orders.stock.read(sorted(orders.stock.ledger.product_ids()))
    for order in acknowledged:
        assert orders.find(order.id) == order
    assert_nothing_open(stores)
    assert_keys_agree(stores)
    assert_all_agree(stores)
    assert reconcile(orders.stock, in_doubt_seconds=0).findings == []
