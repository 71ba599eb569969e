"""In which state of the saga an order is: read off what the three stores hold of it."""

from __future__ import annotations

from helpers import validation
from helpers.orders.order_rows import number_of
from helpers.orders.outbox import PURCHASES, SALES, pair_id
from helpers.orders.saga import State
from helpers.stock import Stock
from helpers.stores import Stores

_ROW = "SELECT customer_id, orders FROM order_outbox WHERE product_id = %s AND order_id = %s"

_UNSOLD: dict[str, State] = {
    "held": "reserved",
    "confirming": "claimed",
    "released": "released",
    "expired": "expired",
}


def state_of(stores: Stores, product_id: int, token: str) -> State:
    """Return the state of the order of ``product_id`` that was placed under ``token``.

    ``wanted`` is also what nobody knows. The stores are asked one after another: while somebody is
    placing the order, the answer may be of no moment that there ever was.

    Raises ``StockError`` for arguments that are not what they must be, before anything is sent, and
    ``redis.RedisError``, ``psycopg.Error`` and ``pymongo.errors.PyMongoError``.
    """
    product, number = validation.identifier(product_id, "product"), number_of(token)
    stock = Stock.of(stores)
    reservation = stock.reservations.state(token)
    outcome = stock.ledger.outcome(token, [product])
    if outcome == "cancelled":
        return "refused" if reservation == "confirming" else "cancelled"
    if outcome is None:
        return _UNSOLD.get(reservation, "wanted")
    settled = reservation != "confirming"  # what Redis has lost needs no settling
    row = stores.postgres.execute(_ROW, [product, number]).fetchone()
    if row is None:
        return "complete" if settled else "deleted early"
    if _carried(stores, product, *row):
        return "carried" if settled else "carried early"
    return "settled" if settled else "recorded"


def _carried(stores: Stores, product: int, customer: int, orders: int) -> bool:
    """Tell whether MongoDB has what a row of the outbox says: both parts of it."""
    sales = stores.mongo[SALES].find_one({"_id": product, "orders": {"$gte": orders}})
    pair = stores.mongo[PURCHASES].find_one({"_id": pair_id(customer, product)})
    return sales is not None and pair is not None
