"""A page of products by conditions that live in different stores: the semi-join.

One store says which products may be meant, and the others are asked for these alone. Which store
that is, decides how many have to be looked at; ``choose`` decides it. Pages go by key: the next
one begins after the last id of this one, so that none repeats or loses a product, whatever is
added or deleted meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from helpers.catalog.model import ProductJSON
from helpers.joins.assembly import assemble
from helpers.joins.page_query import MOST, Choice, Page, Query
from helpers.joins.requests import (
    CountMetadata,
    CountProducts,
    FindMetadata,
    ReadStock,
    SelectProducts,
    Strategy,
    ask,
    ask_at_once,
)
from helpers.metadata.document_ids import product_id_of
from helpers.stores import Document

# What a batch brings: the products found in it, and where the next batch begins (None: nowhere).
_Batch = tuple[list[ProductJSON], Any]


# As many ids cost the other stores hardly more than a few.
_LOOKED_AT = 100


def find_page(query: Query) -> Strategy[Page]:
    """Fill a page with batches of products that may be meant, until it is full or there are none.

    One product more than the page holds tells whether there is a next page.
    """
    choice = yield from choose(query)
    batch_of = {"ids": _from_ids, "PostgreSQL": _from_products, "MongoDB": _from_metadata}
    find_batch = batch_of[choice.first]
    products: list[ProductJSON] = []
    after: Any = query.after
    # Where others say what stays, more have to be looked at than are shown: some hundred at first,
    # then twice as many each time, so that even a page that stays empty takes few batches.
    size = query.limit + 1
    if _others_say(query, choice):
        size = max(size, _LOOKED_AT)
    while len(products) <= query.limit:
        found, after = yield from find_batch(query, after, size)
        products += found
        if after is None:
            break
        size = min(2 * size, MOST + 1)
    if len(products) <= query.limit:
        return Page(products, None, choice)
    shown = products[: query.limit]
    return Page(shown, shown[-1]["id"], choice)


def _others_say(query: Query, choice: Choice) -> bool:
    """Tell whether stores that are not asked first have a condition, too."""
    conditions = {
        "PostgreSQL": query.category is not None,
        "MongoDB": bool(query.condition()),
        "Redis": query.in_stock,
    }
    return any(has for store, has in conditions.items() if store != choice.first)


def choose(query: Query) -> Strategy[Choice]:
    """Choose who says which products may be meant.

    A list of ids says so itself. A condition of one store alone is that store's to answer. Where
    both have one, each counts, and the one with fewer goes first: every product that it names has
    to be looked up in the other.
    """
    condition = query.condition()
    if query.ids is not None:
        return Choice("ids", f"{len(query.ids)} are given")
    if not condition:
        return Choice("PostgreSQL", "MongoDB has no condition to answer")
    if query.category is None:
        return Choice("MongoDB", "PostgreSQL has no condition to answer")
    rows, documents = yield from ask_at_once(
        CountProducts(query.category, query.after), CountMetadata(condition, query.after)
    )
    first = "MongoDB" if documents < rows else "PostgreSQL"
    return Choice(first, f"{rows} rows in PostgreSQL, {documents} documents in MongoDB")


def _from_ids(query: Query, after: Any, size: int) -> Strategy[_Batch]:
    """All three know what is meant: ask them at once."""
    left = [one for one in query.ids or () if after is None or one > after]
    ids = left[:size]
    if not ids:
        return [], None
    rows, documents, counts = yield from ask_at_once(
        SelectProducts(ids, query.category),
        FindMetadata(ids, query.condition()),
        ReadStock(ids),
    )
    products = yield from _matching(query, rows, documents, dict(zip(ids, counts, strict=True)))
    return products, ids[-1] if len(left) > size else None


def _from_products(query: Query, after: Any, size: int) -> Strategy[_Batch]:
    """PostgreSQL says which products; MongoDB and Redis are asked for these."""
    rows = yield from ask(SelectProducts(None, query.category, after, size))
    if not rows:
        return [], None
    ids = [row[0] for row in rows]
    documents, counts = yield from ask_at_once(FindMetadata(ids, query.condition()), ReadStock(ids))
    products = yield from _matching(query, rows, documents, dict(zip(ids, counts, strict=True)))
    return products, ids[-1] if len(rows) == size else None


def _from_metadata(query: Query, after: Any, size: int) -> Strategy[_Batch]:
    """MongoDB says which products; PostgreSQL and Redis are asked for these."""
    documents = yield from ask(FindMetadata(None, query.condition(), after, size))
    numbers = [one for one in map(product_id_of, documents) if one is not None]
    last: float | None = None
    if len(documents) == size:
        # Documents that name no product may come before all numbers, or between: go on behind
        # those at the beginning, and behind the last number otherwise.
        last = numbers[-1] if numbers else -math.inf if after is None else None
    ids = sorted({int(one) for one in numbers})
    if not ids:
        return [], last
    rows, counts = yield from ask_at_once(SelectProducts(ids, query.category), ReadStock(ids))
    products = yield from _matching(query, rows, documents, dict(zip(ids, counts, strict=True)))
    return products, last


def _matching(
    query: Query,
    rows: Sequence[tuple[int, str, str]],
    documents: list[Document],
    counts: dict[int, bytes | None],
) -> Strategy[list[ProductJSON]]:
    """Put together what was found, and keep what meets the conditions of every store."""
    if query.condition():
        matched = {product_id_of(document) for document in documents}
        rows = [row for row in rows if row[0] in matched]
    products = yield from assemble(rows, documents, [counts[row[0]] for row in rows])
    if query.in_stock:
        return [one for one in products if one["stock"] not in (None, "0")]
    return products
