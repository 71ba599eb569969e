"""Rebuild the sales in MongoDB: compare them with the orders in PostgreSQL, and repair them.

``add_sales`` writes the sales of orders that were loaded in bulk, without rows in the outbox.

The relay only increases totals. Anything else that gets into ``sales`` and ``purchases`` (an old
backup that was restored, a mistake, a lost document) stays until it is looked for.

This may run while orders are placed and relayed. A difference that is found first may just be an
order that is not relayed yet. So each product with a difference is examined again under its lock,
which prevents new orders of it. A relay can then still write totals of orders that exist already:
the repaired document includes them, and ``$max`` changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from pymongo import DeleteOne, ReplaceOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from helpers.orders.outbox import (
    DURABLE,
    PURCHASES,
    SALES,
    bulk_write,
    is_concurrent_insert,
    pair_id,
    raise_totals,
)
from helpers.stock import Finding
from helpers.stock.ledger import lock_products
from helpers.stores import Document, Stores

_TOTALS = "SELECT product_id, count(*), sum(quantity)::bigint FROM orders GROUP BY product_id"
_PAIRS = "SELECT DISTINCT product_id, customer_id FROM orders"
_TOTALS_OF_PRODUCT = """
SELECT customer_id, count(*), sum(quantity)::bigint FROM orders WHERE product_id = %s
GROUP BY customer_id
"""
_IN_OUTBOX = "SELECT customer_id FROM order_outbox WHERE product_id = %s"

_BATCH = 10_000

_KIND = {SALES: "sales", PURCHASES: "purchase"}

_Write = ReplaceOne[Document] | DeleteOne


@dataclass
class SalesReport:
    """How many products were examined, and the differences that were found and repaired."""

    products: int = 0
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        examined = f"The sales of {self.products} products examined"
        if not self.findings:
            return f"{examined}: they agree with the orders."
        lines = "\n".join(f"  {finding}" for finding in self.findings)
        return f"{examined}, {len(self.findings)} differences repaired:\n{lines}"


def rebuild_sales(stores: Stores) -> SalesReport:
    """Make ``sales`` and ``purchases`` match the orders, and return what was wrong.

    May run at any time, next to clients and relays, and may be interrupted and repeated. A
    finding's ``kind`` is ``"sales"`` or ``"purchase"``. Documents that are only out of date because
    a row is still in the outbox are updated and are not a finding. No order may be deleted
    meanwhile.

    Holds all pairs of a customer and a product in memory. Raises ``psycopg.Error`` and
    ``pymongo.errors.PyMongoError``; repairs up to then remain.
    """
    sales, stray_sales = _read(stores.mongo, SALES, lambda key, _: _is_int(key))
    purchases, stray_purchases = _read(stores.mongo, PURCHASES, _is_pair)
    findings = stray_sales + stray_purchases
    # After MongoDB: an order is recorded before it is relayed, so a higher total is wrong.
    expected_sales = {row[0]: _sales(*row) for row in stores.postgres.execute(_TOTALS)}
    expected_purchases = {
        pair_id(customer_id, product_id): _purchase(customer_id, product_id)
        for product_id, customer_id in stores.postgres.execute(_PAIRS)
    }
    suspects = {*_different(sales, expected_sales)}
    for pair in _different(purchases, expected_purchases):
        suspects.add((expected_purchases.get(pair) or purchases[pair])["product_id"])
    for product_id in sorted(suspects):
        with stores.postgres.transaction():
            lock_products(stores.postgres, [product_id])
            findings += _repair_product(stores, product_id)
    return SalesReport(len(sales.keys() | expected_sales.keys() | suspects), findings)


def add_sales(stores: Stores, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the sales and purchases of orders that MongoDB lacks; lower and delete none.

    ``progress`` is called with how many more documents are done, and the total. May run next to
    clients and relays: like them, it only raises totals. Raises as ``rebuild_sales`` does; call it
    again to write the rest.
    """
    totals = {row[0]: _sales(*row) for row in stores.postgres.execute(_TOTALS)}
    pairs = [_purchase(customer, product) for product, customer in stores.postgres.execute(_PAIRS)]
    documents = {PURCHASES: pairs, SALES: list(totals.values())}
    total = sum(map(len, documents.values()))
    for name in documents:
        for done in _insert_missing(stores.mongo, name, documents[name]):
            if progress is not None:
                progress(done, total)
    found = {document["_id"]: document for document in stores.mongo[SALES].find()}
    behind = [
        raise_totals(product_id, sales["orders"], sales["units"])
        for product_id, sales in sorted(totals.items())
        if found.get(product_id) != sales
    ]
    if behind:
        bulk_write(stores.mongo, SALES, behind)


def _insert_missing(
    database: Database[Document], name: str, documents: list[Document]
) -> Iterator[int]:
    """Insert the documents whose ``_id`` does not exist: much faster than upserts.

    Yields after each batch how many documents it had.
    """
    collection = database.get_collection(name, write_concern=DURABLE)
    stored = {document["_id"] for document in collection.find({}, {"_id": 1})}
    for start in range(0, len(documents), _BATCH):
        batch = documents[start : start + _BATCH]
        missing = [document for document in batch if document["_id"] not in stored]
        if missing:
            try:
                collection.insert_many(missing, ordered=False)
            except BulkWriteError as error:
                if not is_concurrent_insert(error):  # the others were inserted
                    raise
        yield len(batch)


def _read(
    database: Database[Document], name: str, is_valid: Callable[[Any, Document], bool]
) -> tuple[dict[Any, Document], list[Finding]]:
    """Return a collection's documents by ``_id``; delete those whose ``_id`` is not valid."""
    found = {document["_id"]: document for document in database[name].find()}
    strays = [key for key, document in found.items() if not is_valid(key, document)]
    for key in strays:
        del found[key]
    if strays:
        bulk_write(database, name, [DeleteOne({"_id": key}) for key in strays])
    return found, [
        Finding(_KIND[name], str(key), f"{key!r:.60} is not a valid _id: deleted") for key in strays
    ]


def _is_pair(key: Any, document: Document) -> bool:
    """Return whether the ``_id`` of a purchase matches its customer and product."""
    customer_id, product_id = document.get("customer_id"), document.get("product_id")
    return _is_int(customer_id) and _is_int(product_id) and key == pair_id(customer_id, product_id)


def _different(found: dict[Any, Document], expected: dict[Any, Document]) -> list[Any]:
    return [key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)]


def _repair_product(stores: Stores, product_id: int) -> list[Finding]:
    """Make a product's documents match its orders, under its lock; return what was wrong."""
    rows = stores.postgres.execute(_TOTALS_OF_PRODUCT, [product_id]).fetchall()
    # Before MongoDB is read: a row that is deleted by then has been relayed.
    in_outbox = {customer for (customer,) in stores.postgres.execute(_IN_OUTBOX, [product_id])}
    orders, units = sum(row[1] for row in rows), sum(row[2] for row in rows)
    expected = _sales(product_id, orders, units) if rows else None
    found = stores.mongo[SALES].find_one({"_id": product_id})
    findings = []
    if found != expected:
        bulk_write(stores.mongo, SALES, [_replace(product_id, expected)])
        if not (in_outbox and _is_behind(found, expected)):
            done = f"product {product_id} had {_describe(found)}, now {_describe(expected)}"
            findings.append(Finding(_KIND[SALES], str(product_id), done))
    customers = {row[0] for row in rows}
    return findings + _repair_purchases(stores.mongo, product_id, customers, in_outbox)


def _repair_purchases(
    database: Database[Document], product_id: int, customers: set[int], in_outbox: set[int]
) -> list[Finding]:
    documents = database[PURCHASES].find({"product_id": product_id})
    found = {document["_id"]: document for document in documents}
    expected = {
        pair_id(customer, product_id): _purchase(customer, product_id) for customer in customers
    }
    strays = sorted(found.keys() - expected.keys(), key=str)
    wrong = sorted(pair for pair, document in expected.items() if found.get(pair) != document)
    writes: Sequence[_Write] = [
        *(DeleteOne({"_id": pair}) for pair in strays),
        *(_replace(pair, expected[pair]) for pair in wrong),
    ]
    if writes:
        bulk_write(database, PURCHASES, writes)
    not_relayed = {pair_id(customer, product_id) for customer in in_outbox}
    repairs = [(pair, "there is no such order: deleted") for pair in strays]
    repairs += [
        (pair, "was wrong or missing: written") for pair in wrong if pair not in not_relayed
    ]
    return [
        Finding(_KIND[PURCHASES], str(pair), f"customer and product {pair}: {done}")
        for pair, done in repairs
    ]


def _replace(document_id: int | str, expected: Document | None) -> _Write:
    if expected is None:
        return DeleteOne({"_id": document_id})
    return ReplaceOne({"_id": document_id}, expected, upsert=True)


def _sales(product_id: int, orders: int, units: int) -> Document:
    return {"_id": product_id, "product_id": product_id, "orders": orders, "units": units}


def _purchase(customer_id: int, product_id: int) -> Document:
    return {
        "_id": pair_id(customer_id, product_id),
        "customer_id": customer_id,
        "product_id": product_id,
    }


def _is_behind(found: Document | None, expected: Document | None) -> bool:
    """Return whether a document's totals are only lower than expected, with no other mistake."""
    if found is None or expected is None:
        return found is None
    return found.keys() == expected.keys() and all(
        _is_int(found[name]) and found[name] <= expected[name] for name in expected
    )


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _describe(sales: Document | None) -> str:
    if sales is None:
        return "none"
    return f"{sales.get('orders')} orders of {sales.get('units')} units"
