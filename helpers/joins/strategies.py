"""The join of the three stores, in the application: four ways to ask for the same answer.

Each gives the original's JSON in order of id, with ``None`` for metadata or stock that a store
does not have: a left join, in which PostgreSQL says which products there are. ``ids`` are the
products wanted, ``None`` all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from helpers.catalog.model import ProductJSON
from helpers.joins.assembly import add_metadata, assemble, with_stock
from helpers.joins.requests import (
    FindMetadata,
    ReadStock,
    SelectProducts,
    Strategy,
    ask,
    ask_at_once,
)

Ids = Sequence[int] | None


def per_product(ids: Ids = None) -> Strategy[list[ProductJSON]]:
    """Ask for the rows; then, for each product, for its document and for its count."""
    products = []
    for row in (yield from ask(SelectProducts(ids))):
        documents = yield from ask(FindMetadata([row[0]]))
        counts = yield from ask(ReadStock([row[0]]))
        products += yield from assemble([row], documents, counts)
    return products


def batched(ids: Ids = None) -> Strategy[list[ProductJSON]]:
    """Ask for the rows; then for all documents; then for all counts."""
    rows = yield from ask(SelectProducts(ids))
    if not rows:
        return []
    found = [row[0] for row in rows]
    # Without ids, all documents are wanted: a list of every id would only be looked up one by one.
    documents = yield from ask(FindMetadata(None if ids is None else found))
    counts = yield from ask(ReadStock(found))
    return (yield from assemble(rows, documents, counts))


def rows_first(ids: Ids = None) -> Strategy[list[ProductJSON]]:
    """Ask for the rows; then, at once, for all documents and all counts."""
    rows = yield from ask(SelectProducts(ids))
    if not rows:
        return []
    found = [row[0] for row in rows]
    documents, counts = yield from ask_at_once(
        FindMetadata(None if ids is None else found), ReadStock(found)
    )
    return (yield from assemble(rows, documents, counts))


def at_once(ids: Ids = None) -> Strategy[list[ProductJSON]]:
    """Ask all three at once, as far as nobody needs another's answer.

    Which counts there are to read, only the rows tell; the documents need not wait for them.
    """
    documents, products = yield from ask_at_once(FindMetadata(ids), _without_metadata(ids))
    return add_metadata(products, documents)


def _without_metadata(ids: Ids) -> Strategy[list[ProductJSON]]:
    rows = yield from ask(SelectProducts(ids))
    counts = (yield from ask(ReadStock([row[0] for row in rows]))) if rows else []
    return (yield from with_stock(rows, counts))
