"""Facets: how many products there are of each category, tag and value, beside a page of products.

Who says what is as in the join: categories are PostgreSQL's, tags and specifications MongoDB's. A
condition of one store reaches the other by the ids that meet it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from helpers.joins.page_query import Query
from helpers.joins.requests import (
    CountCategories,
    CountValues,
    FindIds,
    SelectProducts,
    Strategy,
    ask,
)

#: A value and how many products have it.
Counted = tuple[Any, int]

_MOST = 30


@dataclass(frozen=True)
class Values:
    """Tags, and values of specifications by name, with the number of products that have them."""

    tags: list[Counted]
    specifications: dict[str, list[Counted]]


def count_categories(query: Query) -> Strategy[list[Counted]]:
    """Count the products of each category, the most frequent first.

    Counted are those that meet the conditions on tags and specifications, whatever their category,
    so that another one can be chosen. What else ``query`` says does not matter here.
    """
    condition = query.condition()
    ids = (yield from ask(FindIds(condition))) if condition else None
    counted = yield from ask(CountCategories(ids))
    return [*counted]


def count_values(query: Query) -> Strategy[Values]:
    """Count tags and values of specifications, the 30 most frequent of each.

    Counted are the documents that meet all conditions on category, tags and specifications.
    """
    ids = None
    if query.category is not None:
        rows = yield from ask(SelectProducts(category=query.category))
        ids = [row[0] for row in rows]
    found = yield from ask(CountValues(query.condition(), ids))
    tags = [(one["_id"], one["count"]) for one in found["tags"] if isinstance(one["_id"], str)]
    return Values(tags[:_MOST], _by_name(found["specifications"]))


def _by_name(groups: list[dict[str, Any]]) -> dict[str, list[Counted]]:
    found: dict[str, list[Counted]] = {}
    for name, value, count in _plain(groups):
        values = found.setdefault(name, [])
        if len(values) < _MOST:
            values.append((value, count))
    return found


def _plain(groups: list[dict[str, Any]]) -> Iterator[tuple[str, Any, int]]:
    for group in groups:
        name, value = group["_id"]["k"], group["_id"]["v"]
        # An object within the specifications, or a list in a list: no value to choose.
        if isinstance(value, str | int | float):
            yield name, value, group["count"]
