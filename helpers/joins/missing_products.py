"""Which products an answer may lack: asked of MongoDB, where the rows that would tell are away.

It is as much as MongoDB knows. A product without a document stays without a name; and one whose
document does not tell its category may be of the one that was asked for.
"""

from __future__ import annotations

from helpers.catalog.categories import CATEGORIES
from helpers.joins.page_query import Query
from helpers.joins.requests import FindIds
from helpers.stores import Document


def everything(query: Query | None = None) -> FindIds:
    """Return the question for all products that meet a query's conditions, on whatever page."""
    return FindIds(_all_of([] if query is None else _conditions(query)))


def on_page(query: Query, last: int | None) -> FindIds:
    """Return the question for those that may belong on the page that ends with product ``last``.

    ``None``: it is the last page.
    """
    bounds: Document = {}
    if query.after is not None:
        bounds["$gt"] = query.after
    if last is not None:
        bounds["$lte"] = last
    if query.ids is not None:
        bounds["$in"] = list(query.ids)
    return FindIds(_all_of([*_conditions(query), *([{"product_id": bounds}] if bounds else [])]))


def _conditions(query: Query) -> list[Document]:
    found = [query.condition()] if query.condition() else []
    if query.category is not None:
        others = [one for one in CATEGORIES if one != query.category]
        # Those of schema version 1 tell it by a tag, if at all.
        by_tags: Document = {"category": {"$exists": False}}
        by_tags["$or"] = [{"tags": query.category}, {"tags": {"$nin": others}}]
        found.append({"$or": [{"category": query.category}, by_tags]})
    return found


def _all_of(conditions: list[Document]) -> Document:
    if len(conditions) > 1:
        return {"$and": conditions}
    return conditions[0] if conditions else {}
