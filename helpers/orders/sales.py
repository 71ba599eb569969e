"""Rebuilding: what MongoDB has of the orders, compared with the orders themselves and mended.

The relay only ever counts up. So what came into ``sales`` and ``purchases`` by another way (an old
copy that was restored, a mistake, a document that was lost) stays there until it is looked for.

That may be done while orders are placed and carried. A difference that is seen in passing may be
no more than an order which is on its way; so each is looked at once more under the product's lock,
where nobody places an order of it. What a relay may still write then are numbers of orders that are
there: the mended document has them, and ``$max`` changes nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pymongo import DeleteOne, ReplaceOne
from pymongo.database import Database

from helpers.orders.outbox import (
    KEPT,
    PURCHASES,
    SALES,
    inserted_at_once,
    pair_id,
    repeat,
)
from helpers.stock import Finding
from helpers.stock.ledger import lock_products
from helpers.stores import Document, Stores

_TOTALS = "SELECT product_id, count(*), sum(quantity)::bigint FROM orders GROUP BY product_id"
_PAIRS = "SELECT DISTINCT product_id, customer_id FROM orders"
_OF_ONE = """
SELECT customer_id, count(*), sum(quantity)::bigint FROM orders WHERE product_id = %s
GROUP BY customer_id
"""
_WAITING = "SELECT customer_id FROM order_outbox WHERE product_id = %s"

_KIND = {SALES: "sales", PURCHASES: "purchase"}

_Write = ReplaceOne[Document] | DeleteOne


@dataclass
class SalesReport:
    """How many products were examined, and what was wrong with their sales and is mended."""

    products: int = 0
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        examined = f"The sales of {self.products} products examined"
        if not self.findings:
            return f"{examined}: they agree with the orders."
        lines = "\n".join(f"  {finding}" for finding in self.findings)
        return f"{examined}, {len(self.findings)} differences repaired:\n{lines}"


def rebuild_sales(stores: Stores) -> SalesReport:
    """Make ``sales`` and ``purchases`` what the orders say, and return what was wrong.

    May run at any time, beside clients and relays, and be cut short and repeated. A finding's
    ``kind`` is ``"sales"`` or ``"purchase"``; what is behind because its row still waits in the
    outbox is brought up to date, too, and is no finding. No order must be deleted meanwhile.

    Holds all pairs of a customer and a product in memory. Raises ``psycopg.Error`` and
    ``pymongo.errors.PyMongoError``: what was mended stays mended.
    """
    sales, strays = _read_sales(stores.mongo)
    pairs, more = _read_pairs(stores.mongo)
    findings = strays + more
    # After MongoDB: what is carried was ordered before, so what is too much here, is so indeed.
    right_sales = {row[0]: _sales(*row) for row in stores.postgres.execute(_TOTALS)}
    right_pairs = {
        pair_id(customer, product): _pair(customer, product)
        for product, customer in stores.postgres.execute(_PAIRS)
    }
    suspects = {*_different(sales, right_sales)}
    for one in _different(pairs, right_pairs):
        suspects.add((right_pairs.get(one) or pairs[one])["product_id"])
    for product in sorted(suspects):
        with stores.postgres.transaction():
            lock_products(stores.postgres, [product])
            findings += _mend(stores, product)
    return SalesReport(len(sales.keys() | right_sales.keys() | suspects), findings)


def _read_sales(database: Database[Document]) -> tuple[dict[Any, Document], list[Finding]]:
    """Return the documents of products, by product; delete others, and tell of them."""
    found = {one["_id"]: one for one in database[SALES].find()}
    strays = [one for one in found if not _is_whole(one)]
    return found, _delete_strays(database, SALES, found, strays)


def _read_pairs(database: Database[Document]) -> tuple[dict[Any, Document], list[Finding]]:
    """Return the documents that say what their ``_id`` says; delete others, and tell of them."""
    found = {one["_id"]: one for one in database[PURCHASES].find()}
    strays = [
        name
        for name, one in found.items()
        if not (_is_whole(one.get("customer_id")) and _is_whole(one.get("product_id")))
        or name != pair_id(one["customer_id"], one["product_id"])
    ]
    return found, _delete_strays(database, PURCHASES, found, strays)


def _delete_strays(
    database: Database[Document], name: str, found: dict[Any, Document], strays: list[Any]
) -> list[Finding]:
    for one in strays:
        del found[one]
    if strays:
        _write(database, name, [DeleteOne({"_id": one}) for one in strays])
    return [
        Finding(_KIND[name], str(one), f"{one!r:.60} cannot be read: deleted") for one in strays
    ]


def _different(found: dict[Any, Document], right: dict[Any, Document]) -> list[Any]:
    return [one for one in found.keys() | right.keys() if found.get(one) != right.get(one)]


def _mend(stores: Stores, product: int) -> list[Finding]:
    """Make what MongoDB has of a product right, under its lock; return what was wrong."""
    rows = stores.postgres.execute(_OF_ONE, [product]).fetchall()
    # Before MongoDB is asked: a row that is gone by then has been carried.
    waiting = {customer for (customer,) in stores.postgres.execute(_WAITING, [product])}
    orders, units = sum(row[1] for row in rows), sum(row[2] for row in rows)
    right = _sales(product, orders, units) if rows else None
    found = stores.mongo[SALES].find_one({"_id": product})
    findings = []
    if found != right:
        _write(stores.mongo, SALES, [_replacing(product, right)])
        if not (waiting and _is_behind(found, right)):
            what = f"had {_told(found)}, now {_told(right)}"
            findings.append(Finding(_KIND[SALES], str(product), f"product {product} {what}"))
    return findings + _mend_pairs(stores.mongo, product, {row[0] for row in rows}, waiting)


def _mend_pairs(
    database: Database[Document], product: int, customers: set[int], waiting: set[int]
) -> list[Finding]:
    there = {one["_id"]: one for one in database[PURCHASES].find({"product_id": product})}
    right = {pair_id(one, product): _pair(one, product) for one in customers}
    strays = sorted(there.keys() - right.keys(), key=str)
    wrong = sorted(one for one, pair in right.items() if there.get(one) != pair)
    writes: list[_Write] = [DeleteOne({"_id": one}) for one in strays]
    writes += [_replacing(one, right[one]) for one in wrong]
    if writes:
        _write(database, PURCHASES, writes)
    on_its_way = {pair_id(one, product) for one in waiting}
    said = [(one, "nobody ordered that: deleted") for one in strays]
    said += [(one, "was not there: written") for one in wrong if one not in on_its_way]
    return [
        Finding(_KIND[PURCHASES], str(one), f"customer and product {one}: {done}")
        for one, done in said
    ]


def _write(database: Database[Document], name: str, writes: Sequence[_Write]) -> None:
    collection = database.get_collection(name, write_concern=KEPT)
    repeat(partial(collection.bulk_write, writes, ordered=False), inserted_at_once)


def _replacing(one: int | str, right: Document | None) -> _Write:
    if right is None:
        return DeleteOne({"_id": one})
    return ReplaceOne({"_id": one}, right, upsert=True)


def _sales(product: int, orders: int, units: int) -> Document:
    return {"_id": product, "product_id": product, "orders": orders, "units": units}


def _pair(customer: int, product: int) -> Document:
    return {
        "_id": pair_id(customer, product),
        "customer_id": customer,
        "product_id": product,
    }


def _is_behind(found: Document | None, right: Document | None) -> bool:
    """Tell whether a document says fewer than the orders do, and nothing else that is wrong."""
    if found is None or right is None:
        return found is None
    return found.keys() == right.keys() and all(
        _is_whole(found[name]) and found[name] <= right[name] for name in right
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _told(sales: Document | None) -> str:
    if sales is None:
        return "none"
    return f"{sales.get('orders')} orders of {sales.get('units')} units"
