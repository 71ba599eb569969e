"""Count facets: how many products have each category, tag and specification value.

As in the join, categories come from PostgreSQL, tags and specifications from MongoDB. A condition
on one store is applied to the other as a list of the matching ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from helpers.catalog.categories import label_problem
from helpers.joins.pages import Query
from helpers.joins.requests import (
    CountCategories,
    CountValues,
    FindIds,
    SelectProducts,
    Strategy,
    ask,
)
from helpers.metadata.filters import is_filter

#: A value and the number of products that have it.
ValueCount = tuple[Any, int]

_MAX_VALUES = 30


@dataclass(frozen=True)
class FacetCounts:
    """Tags, and specification values by name, each with the number of products that have it."""

    tags: list[ValueCount]
    specifications: dict[str, list[ValueCount]]


def count_categories(query: Query, find: str | None = None) -> Strategy[list[ValueCount]]:
    """Count the products per category, most frequent first.

    Only the query's tags and specifications apply, not its category, so that the customer can
    choose another one. ``find`` keeps only categories that contain this text.
    """
    condition = query.condition()
    ids = (yield from ask(FindIds(condition))) if condition else None
    counted = yield from ask(CountCategories(ids))
    return [
        (category, count)
        for category, count in counted
        if label_problem(category) is None and contains(category, find)
    ]


def count_values(query: Query, find: str | None = None) -> Strategy[FacetCounts]:
    """Count tags and specification values, the 30 most frequent of each.

    The query's category, tags and specifications all apply. ``find`` keeps only values that contain
    this text, among the most frequent that MongoDB counts.
    """
    ids = None
    if query.category is not None:
        rows = yield from ask(SelectProducts(category=query.category))
        ids = [row[0] for row in rows]
    found = yield from ask(CountValues(query.condition(), ids))
    counted = [(tag["_id"], tag["count"]) for tag in found["tags"]]
    tags = [(tag, count) for tag, count in counted if is_filter(tags=[tag]) and contains(tag, find)]
    return FacetCounts(tags[:_MAX_VALUES], _by_name(found["specifications"], find))


def is_choice(name: str, value: Any) -> bool:
    """Return whether customers can choose products by this value of a specification.

    A nested object, a list within a list or a long text is not a value to choose, and in a filter,
    a dot in a name separates levels.
    """
    return "." not in name and is_filter(specifications={name: value})


def contains(value: Any, find: str | None) -> bool:
    """Return whether a value contains the text ``find``, in upper or lower case."""
    return find is None or find.casefold() in str(value).casefold()


def _by_name(groups: list[dict[str, Any]], find: str | None) -> dict[str, list[ValueCount]]:
    by_name: dict[str, list[ValueCount]] = {}
    for group in groups:
        name, value = group["_id"]["k"], group["_id"]["v"]
        if is_choice(name, value) and contains(value, find):
            values = by_name.setdefault(name, [])
            if len(values) < _MAX_VALUES:
                values.append((value, group["count"]))
    return by_name
