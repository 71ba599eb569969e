"""An index in memory: which products have a category, a tag, a specification value.

For each value there is a compressed bitmap of product ids (https://roaringbitmap.org), so that a
conjunction of conditions, a page of its matches and the counts of all facets take time in
proportion to the number of values, and hardly more for 100,000 products than for 1,000.

The index may name products that do not match (numbers are compared as MongoDB compares them only
when the documents are found), but never lacks one that does. Facets are exact.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from heapq import heappush, heappushpop
from operator import and_
from typing import Any, NamedTuple

from bson import Decimal128, ObjectId
from pyroaring import BitMap64

from helpers.joins.page_facets import FacetCounts, ValueCount, contains, is_choice
from helpers.joins.pages import Query
from helpers.metadata.document_ids import product_id_of
from helpers.metadata.filters import Between, is_filter
from helpers.stores import Document

#: The kind of a value and the value: a boolean equals no number here, as in MongoDB.
_Value = tuple[str, Any]
#: The path of a specification, or ``_TAGS``, and a value.
_Facet = tuple[str, _Value]

_MAX_FACETS = 500
_MAX_VALUES = 30
_TAGS = ""  # the path of tags: no specification has an empty name

_EMPTY = BitMap64()

# The kinds of values, in MongoDB's order.
_KINDS = ("not a number", "number", "text", "boolean")


class _Entry(NamedTuple):
    """What the index knows about a document: the product, and its paths and values."""

    product_id: int
    values: tuple[_Facet, ...]
    facets: tuple[_Facet, ...]


class ProductIndex:
    """The index. Not safe for threads: one task changes it, between two reads.

    ``changes`` is the number of changes so far; equal numbers mean equal content.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._documents: dict[Any, _Entry] = {}  # by ``_id``
        self._known: dict[_Facet, _Facet] = {}  # so that entries share their paths and values
        self._matches: dict[str, dict[_Value, BitMap64]] = {}  # by path, then by value
        self._facets: dict[_Facet, BitMap64] = {}
        self._shown: dict[_Facet, Any] = {}  # each facet's value, as it was first seen
        self._categories: dict[str, BitMap64] = {}
        self._category_of: dict[int, str] = {}
        self._products = BitMap64()  # in PostgreSQL
        # The specifications and the tags in order of frequency, as of that number of changes.
        self._sorted: tuple[list[_Facet], list[_Facet]] = ([], [])
        self._sorted_at = 0

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._documents)

    def put_document(self, document: Document) -> None:
        """Add a document, or replace the one with the same ``_id``.

        No two documents may have the same ``product_id``: the collection's unique index ensures it.
        """
        self.remove_document(document["_id"])
        product_id = product_id_of(document)
        if product_id is None or product_id != int(product_id) or product_id < 0:
            return
        values, facets = set(_values(document)), set(self._facets_in(document))
        shared = tuple(self._known.setdefault(value, value) for value in values)
        entry = _Entry(
            int(product_id),
            shared,
            shared if facets == values else tuple(self._known[facet] for facet in facets),
        )
        self._documents[_compact(document["_id"])] = entry
        for path, value in entry.values:
            self._matches.setdefault(path, {}).setdefault(value, BitMap64()).add(entry.product_id)
        for facet in entry.facets:
            self._facets.setdefault(facet, BitMap64()).add(entry.product_id)

    def remove_document(self, document_id: Any) -> None:
        """Remove the document with this ``_id``, if there is one."""
        self.changes += 1
        entry = self._documents.pop(_compact(document_id), None)
        if entry is None:
            return
        for path, value in entry.values:
            _discard(self._matches[path], value, entry.product_id)
            if value not in self._matches[path]:
                del self._known[path, value]
        for facet in entry.facets:
            _discard(self._facets, facet, entry.product_id)
            if facet not in self._facets:
                del self._shown[facet]

    def put_categories(self, categories: Mapping[int, str | None]) -> None:
        """Set the categories of products in PostgreSQL; ``None`` if there is no such product."""
        self.changes += 1
        for product_id, category in categories.items():
            before = self._category_of.pop(product_id, None)
            if before is not None:
                _discard(self._categories, before, product_id)
                self._products.discard(product_id)
            if category is not None:
                self._products.add(product_id)
                self._category_of[product_id] = category
                self._categories.setdefault(category, BitMap64()).add(product_id)

    def replace_categories(self, rows: Iterable[tuple[int, str]]) -> None:
        """Set the categories of all products in PostgreSQL."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for product_id, category in rows:
            found[category].append(product_id)
        self.changes += 1
        self._categories = {category: BitMap64(ids) for category, ids in found.items()}
        self._category_of = {
            product_id: category for category, ids in found.items() for product_id in ids
        }
        self._products = BitMap64(self._category_of)

    def category_checksums(self) -> dict[str, tuple[int, int]]:
        """Return the number of products and the sum of their ids, by category."""
        return {name: (len(ids), sum(ids)) for name, ids in self._categories.items()}

    def count(self, query: Query) -> int:
        """Return how many products may match the query's category, tags and specifications."""
        return len(self._matching(query))

    def page(self, query: Query, after: int | None, size: int) -> list[int]:
        """Return the first ``size`` ids above ``after`` of products that may match the query."""
        ids = self._matching(query)
        start = 0 if after is None else ids.rank(after)
        return list(ids[start : start + size])

    def count_categories(self, query: Query, find: str | None = None) -> list[ValueCount]:
        """Count the products per category, most frequent first, as ``page_facets`` does."""
        matching = self._documents_matching(query)
        counts = (
            (name, len(ids) if matching is None else ids.intersection_cardinality(matching))
            for name, ids in self._categories.items()
            if contains(name, find)
        )
        return sorted(
            ((name, count) for name, count in counts if count), key=lambda it: (-it[1], it[0])
        )

    def count_values(self, query: Query, find: str | None = None) -> FacetCounts:
        """Count tags and specification values, the 30 most frequent of each.

        ``find`` keeps only values that contain this text.
        """
        matching = self._documents_matching(query)
        if query.category is not None:
            of_category = self._categories.get(query.category, _EMPTY)
            matching = of_category if matching is None else matching & of_category
        tags = [
            (shown, count) for _, shown, count in self._most_frequent(matching, find, tags=True)
        ]
        specifications: dict[str, list[ValueCount]] = {}
        for name, shown, count in self._most_frequent(matching, find, tags=False):
            found = specifications.setdefault(name, [])
            if len(found) < _MAX_VALUES:
                found.append((shown, count))
        return FacetCounts(tags[:_MAX_VALUES], specifications)

    def _most_frequent(
        self, matching: BitMap64 | None, find: str | None, *, tags: bool
    ) -> list[tuple[str, Any, int]]:
        """Return the most frequent tags, or specifications: name, value and count."""
        least_first: list[int] = []  # the counts of the most frequent ones, as a heap
        counted: list[tuple[int, _Facet]] = []
        for facet in self._by_frequency(tags=tags):
            if not contains(self._shown[facet], find):
                continue
            ids = self._facets[facet]
            if len(least_first) == _MAX_FACETS and len(ids) <= least_first[0]:
                break  # all others are less frequent
            count = len(ids) if matching is None else ids.intersection_cardinality(matching)
            if count:
                counted.append((count, facet))
                push = heappush if len(least_first) < _MAX_FACETS else heappushpop
                push(least_first, count)
        counted.sort(key=lambda found: (-found[0], _sort_key(found[1])))
        return [(facet[0], self._shown[facet], count) for count, facet in counted[:_MAX_FACETS]]

    def _by_frequency(self, *, tags: bool) -> list[_Facet]:
        """Return the facets by their number of products, the most frequent first."""
        if self._sorted_at != self.changes:
            in_order = sorted(
                self._facets, key=lambda facet: (-len(self._facets[facet]), _sort_key(facet))
            )
            self._sorted = (
                [facet for facet in in_order if facet[0] != _TAGS],
                [facet for facet in in_order if facet[0] == _TAGS],
            )
            self._sorted_at = self.changes
        return self._sorted[tags]

    def _matching(self, query: Query) -> BitMap64:
        """Return the ids that may match the category, the tags and the specifications."""
        parts = list(self._conditions(query))
        if query.category is not None:
            parts.append(self._categories.get(query.category, _EMPTY))
        return reduce(and_, sorted(parts, key=len)) if parts else self._products

    def _documents_matching(self, query: Query) -> BitMap64 | None:
        parts = list(self._conditions(query))
        return reduce(and_, sorted(parts, key=len)) if parts else None

    def _conditions(self, query: Query) -> Iterator[BitMap64]:
        for tag in query.tags:
            yield self._matches.get(_TAGS, {}).get(("text", tag), _EMPTY)
        for name, wanted in query.specifications.items():
            values = self._matches.get(name, {})
            if not isinstance(wanted, Between):
                yield values.get(_value(wanted), _EMPTY)
                continue
            # Of a list, one element may meet the lower limit and another one the upper limit.
            numbers = [(value[1], ids) for value, ids in values.items() if value[0] == "number"]
            if wanted.low is not None:
                yield _union(ids for number, ids in numbers if number >= wanted.low)
            if wanted.high is not None:
                yield _union(ids for number, ids in numbers if number <= wanted.high)

    def _facets_in(self, document: Document) -> Iterator[_Facet]:
        """Yield what can be counted: tags, and the values of specifications and of their lists."""
        pairs: list[tuple[str, Any]]
        pairs = [(_TAGS, tag) for tag in _elements(document.get("tags")) if isinstance(tag, str)]
        specifications = document.get("specifications")
        if isinstance(specifications, dict):
            pairs += [
                (name, element)
                for name, value in specifications.items()
                for element in _elements(value)
                if isinstance(element, str | int | float)
            ]
        for name, shown in pairs:
            facet = name, _value(shown)
            if facet in self._shown or (
                is_filter(tags=[shown]) if name == _TAGS else is_choice(name, shown)
            ):
                self._shown.setdefault(facet, shown)
                yield facet


def _compact(document_id: Any) -> Any:
    return document_id.binary if isinstance(document_id, ObjectId) else document_id


def _values(document: Document) -> Iterator[_Facet]:
    """Yield the paths and values that a condition can match."""
    for tag in _elements(document.get("tags")):
        if isinstance(tag, str):
            yield _TAGS, _value(tag)
    for name, found in _members(document.get("specifications")):
        yield from _nested(name, found)


def _nested(path: str, found: Any) -> Iterator[_Facet]:
    if isinstance(found, dict):
        for name, value in found.items():
            yield from _nested(f"{path}.{name}", value)
    elif isinstance(found, list):
        for element in found:
            yield from _nested(path, element)
    elif isinstance(found, str | int | float | Decimal128):
        yield path, _value(found)


def _members(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of an object, or of the objects in a list."""
    for element in _elements(found):
        if isinstance(element, dict):
            yield from element.items()


def _elements(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _value(found: Any) -> _Value:
    if isinstance(found, bool):
        return "boolean", found
    if isinstance(found, str):
        return "text", found
    number = found.to_decimal() if isinstance(found, Decimal128) else found
    return ("not a number", None) if math.isnan(number) else ("number", number)


def _sort_key(facet: _Facet) -> tuple[str, int, Any]:
    """Return a key that orders values as MongoDB does: numbers, texts by their bytes, booleans."""
    name, (kind, found) = facet
    value = found.encode(errors="surrogatepass") if kind == "text" else found
    return name, _KINDS.index(kind), value


def _union(parts: Iterable[BitMap64]) -> BitMap64:
    return BitMap64().union(*parts)


def _discard(bitmaps: dict[Any, BitMap64], key: Any, product_id: int) -> None:
    bitmaps[key].discard(product_id)
    if not bitmaps[key]:
        del bitmaps[key]
