"""Find a page of products by conditions that live in different stores: a semi-join.

One store tells which products may match, and only these are looked up in the others. The store
decides how many products have to be examined; ``choose_join_order`` picks it. Pagination is by key:
the next page starts after the last id of this one, so that no product is repeated or skipped if
others are inserted or deleted meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Protocol

from helpers import validation
from helpers.catalog.categories import label_problem
from helpers.catalog.model import ProductJSON
from helpers.errors import QueryError, StockError
from helpers.joins.assembly import assemble
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
from helpers.metadata.filters import metadata_filter
from helpers.stores import Document

#: The most products on a page, and the most ids in a query.
MAX_PAGE_SIZE = 1000


# Looking up this many ids costs the other stores hardly more than a few.
_FIRST_BATCH = 100

# The products found in a batch, and where the next batch starts (``None``: there is no other).
_Batch = tuple[list[ProductJSON], Any]


@dataclass(frozen=True)
class Query:
    """A page of the products that match all conditions; a condition that is left out matches all.

    ``category`` is checked in PostgreSQL; ``tags`` and ``specifications`` (a value or a ``Between``
    by name) in MongoDB; ``in_stock``, which keeps only products with a positive stock count, in
    Redis. ``after`` is the last id of the previous page, ``limit`` the page size (1 to 1,000).

    The arguments may be untrusted. Raises ``QueryError`` for an invalid one, ``MetadataError`` for
    an invalid tag or specification. Equal queries have equal hashes and the same result.
    """

    ids: Sequence[int] | None = None
    category: str | None = None
    tags: Sequence[str] = ()
    specifications: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)
    in_stock: bool = False
    after: int | None = None
    limit: int = 24
    # Compared instead: strings tell 1, 1.0 and True apart, as MongoDB does and Python does not.
    _specifications: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        if self.ids is not None:
            object.__setattr__(self, "ids", tuple(_checked_ids(self.ids)))
        if self.category is not None:
            _check_category(self.category)
        metadata_filter(tags=self.tags, specifications=self.specifications)
        object.__setattr__(self, "tags", tuple(self.tags))
        specifications = MappingProxyType(dict(self.specifications or {}))
        object.__setattr__(self, "specifications", specifications)
        in_order = sorted(specifications.items(), key=itemgetter(0))
        object.__setattr__(self, "_specifications", repr(in_order))
        if type(self.in_stock) is not bool:
            raise QueryError("in_stock", "is neither true nor false", "Give one of both")
        if self.after is not None:
            _check_integer("after", self.after, least=0, most=validation.LARGEST_BIGINT)
        _check_integer("limit", self.limit, least=1, most=MAX_PAGE_SIZE)

    def condition(self) -> Document:
        """Return the filter for MongoDB; empty if there are no tags and no specifications."""
        return metadata_filter(tags=self.tags, specifications=self.specifications)


class Candidates(Protocol):
    """An index in memory that names the products that may match a query, and all that do."""

    def count(self, query: Query) -> int:
        """Return their number."""

    def page(self, query: Query, after: int | None, size: int) -> list[int]:
        """Return the first ``size`` of their ids above ``after``."""


@dataclass(frozen=True)
class JoinOrder:
    """The store that is queried first (``first``), and why (``reason``)."""

    first: str
    reason: str

    def __str__(self) -> str:
        return f"{self.first} first: {self.reason}"


@dataclass(frozen=True)
class Page:
    """One page of products, ordered by id, and how it was found.

    ``next`` is the value of ``after`` for the next page; ``None`` if this is the last page.
    """

    products: list[ProductJSON]
    next: int | None
    join_order: JoinOrder


def find_page(query: Query, candidates: Candidates | None = None) -> Strategy[Page]:
    """Fetch batches of products that may match until the page is full or there are no more.

    ``candidates``, if given, replaces a search in MongoDB. If the query has no condition on
    MongoDB, it may also be out of date. One product more than the page holds
    tells whether there is a next page.
    """
    order = yield from choose_join_order(query, candidates)
    batch_of = {
        "ids": _from_ids,
        "index": partial(_from_index, candidates),
        "PostgreSQL": partial(_from_products, candidates),
        "MongoDB": _from_metadata,
    }
    find_batch: Any = batch_of[order.first]
    products: list[ProductJSON] = []
    after: Any = query.after
    # If the other stores have conditions too, more products are examined than shown: 100 at first,
    # then twice as many each time, so that even an empty page takes few batches.
    size = query.limit + 1
    if _others_filter(query, order):
        size = max(size, _FIRST_BATCH)
    while len(products) <= query.limit:
        found, after = yield from find_batch(query, after, size)
        products += found
        if after is None:
            break
        size = min(2 * size, MAX_PAGE_SIZE + 1)
    if len(products) <= query.limit:
        return Page(products, None, order)
    shown = products[: query.limit]
    return Page(shown, shown[-1]["id"], order)


def choose_join_order(query: Query, candidates: Candidates | None = None) -> Strategy[JoinOrder]:
    """Choose the store that tells which products may match.

    A list of ids tells it without a store, and so do ``candidates``. If one store alone has a
    condition, it is that store. If both have one, each counts its matches, and the one with fewer
    goes first: every match has to be looked up in the other.
    """
    condition = query.condition()
    if query.ids is not None:
        return JoinOrder("ids", f"{len(query.ids)} are given")
    if not condition:
        return JoinOrder("PostgreSQL", "there is no condition on MongoDB")
    if candidates is not None:
        return JoinOrder("index", f"{candidates.count(query)} products may match")
    if query.category is None:
        return JoinOrder("MongoDB", "there is no condition on PostgreSQL")
    rows, documents = yield from ask_at_once(
        CountProducts(query.category, query.after), CountMetadata(condition, query.after)
    )
    first = "MongoDB" if documents < rows else "PostgreSQL"
    return JoinOrder(first, f"{rows} rows in PostgreSQL, {documents} documents in MongoDB")


def _others_filter(query: Query, order: JoinOrder) -> bool:
    """Tell whether a store that is not queried first has a condition too."""
    if order.first == "index":
        return query.in_stock
    conditions = {
        "PostgreSQL": query.category is not None,
        "MongoDB": bool(query.condition()),
        "Redis": query.in_stock,
    }
    return any(has for store, has in conditions.items() if store != order.first)


def _from_ids(query: Query, after: Any, size: int) -> Strategy[_Batch]:
    """Look up given ids in all three stores concurrently."""
    left = [product_id for product_id in query.ids or () if after is None or product_id > after]
    products = yield from _look_up(query, left[:size])
    return products, left[size - 1] if len(left) > size else None


def _from_index(
    candidates: Candidates | None, query: Query, after: Any, size: int
) -> Strategy[_Batch]:
    """Look up the next products of an index in all three stores concurrently."""
    assert candidates is not None
    ids = candidates.page(query, after, size)
    products = yield from _look_up(query, ids)
    return products, ids[-1] if len(ids) == size else None


def _look_up(query: Query, ids: list[int]) -> Strategy[list[ProductJSON]]:
    """Look up products in all three stores concurrently, and return those that match."""
    if not ids:
        return []
    rows, documents, counts = yield from ask_at_once(
        SelectProducts(ids, query.category),
        FindMetadata(ids, query.condition()),
        ReadStock(ids),
    )
    return (yield from _matching(query, rows, documents, dict(zip(ids, counts, strict=True))))


def _from_products(
    candidates: Candidates | None, query: Query, after: Any, size: int
) -> Strategy[_Batch]:
    """Select rows in PostgreSQL; then look them up in MongoDB and Redis.

    Each shard sends all rows above ``after``, not only the first ``size``. So ``candidates`` tells
    up to which id there are about as many; what is missing then comes in the next batch.
    """
    last = None
    if candidates is not None:
        near = candidates.page(Query(category=query.category), after, size)
        last = near[-1] if len(near) == size else None
    rows = yield from ask(SelectProducts(None, query.category, after, size, last))
    if not rows:
        return [], last
    ids = [row[0] for row in rows]
    documents, counts = yield from ask_at_once(FindMetadata(ids, query.condition()), ReadStock(ids))
    products = yield from _matching(query, rows, documents, dict(zip(ids, counts, strict=True)))
    return products, ids[-1] if len(rows) == size else last


def _from_metadata(query: Query, after: Any, size: int) -> Strategy[_Batch]:
    """Find documents in MongoDB; then look their products up in PostgreSQL and Redis."""
    documents = yield from ask(FindMetadata(None, query.condition(), after, size))
    numbers = [number for number in map(product_id_of, documents) if number is not None]
    last: float | None = None
    if len(documents) == size:
        # Documents without a product id may sort before all numbers, or between them: continue
        # after those at the start, or else after the last number.
        last = numbers[-1] if numbers else -math.inf if after is None else None
    ids = sorted({int(number) for number in numbers})
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
    """Assemble the products and return those that match the conditions of every store."""
    if query.condition():
        matched = {product_id_of(document) for document in documents}
        rows = [row for row in rows if row[0] in matched]
    products = yield from assemble(rows, documents, [counts[row[0]] for row in rows])
    if query.in_stock:
        return [product for product in products if product["stock"] not in (None, "0")]
    return products


def _checked_ids(values: object) -> list[int]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise QueryError("ids", "is not a list", "Give a list of product ids")
    ids = list(values)
    if len(ids) > MAX_PAGE_SIZE:
        raise QueryError("ids", f"names more than {MAX_PAGE_SIZE}", "Ask for fewer at a time")
    try:
        return sorted(validation.product_ids(ids))
    except StockError as error:
        raise QueryError("ids", "has an invalid product id", str(error)) from None


def _check_category(value: object) -> None:
    if type(value) is not str:
        raise QueryError("category", "is not a string", "Give one")
    if problem := label_problem(value):
        raise QueryError("category", problem, "Give the name of a category")


def _check_integer(name: str, value: object, *, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise QueryError(name, f"is {value!r:.60}", f"Give a whole number from {least} to {most}")
