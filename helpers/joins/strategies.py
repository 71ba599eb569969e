"""Join PostgreSQL, MongoDB and Redis in the application: three strategies with the same result.

Each returns the original's JSON ordered by id, with ``None`` for metadata or stock that a store
does not have: a left join on PostgreSQL's rows. ``ids`` selects the products; ``None`` means all.
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
    """Select the rows; then, for each product, find its document and read its stock count."""
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


def at_once(ids: Ids = None) -> Strategy[list[ProductJSON]]:
    """Send every request as soon as its input is known.

    The stock counts depend on the ids of the rows; the documents do not depend on anything.
    """
    documents, products = yield from ask_at_once(FindMetadata(ids), _without_metadata(ids))
    return add_metadata(products, documents)


def _without_metadata(ids: Ids) -> Strategy[list[ProductJSON]]:
    rows = yield from ask(SelectProducts(ids))
    counts = (yield from ask(ReadStock([row[0] for row in rows]))) if rows else []
    return (yield from with_stock(rows, counts))
