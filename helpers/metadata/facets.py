"""Facets: the number of products for each category, tag and specification value in a sidebar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.collection import Collection

from helpers.stores import Document

Facets = dict[str, list[tuple[Any, int]]]


def facet_pipeline(
    condition: Document | None = None, *, specifications: Sequence[str] = (), most: int = 30
) -> list[Document]:
    """Return an aggregation pipeline: ``$match``, then one ``$facet`` with all counts.

    ``specifications`` are the names whose values are counted. Each list has the ``most`` frequent
    values, the most frequent first; ties are sorted by value.
    """
    count_first: list[Document] = [{"$sort": {"count": -1, "_id": 1}}, {"$limit": most}]
    facets: Document = {
        "category": [_count("$category"), *count_first],
        "tags": [{"$unwind": "$tags"}, _count("$tags"), *count_first],
    }
    for name in specifications:
        path = f"specifications.{name}"
        # The name of a facet must not contain a dot.
        facets[name.replace(".", "_")] = [
            {"$match": {path: {"$exists": True}}},
            {"$unwind": f"${path}"},
            _count(f"${path}"),
            *count_first,
        ]
    return [{"$match": condition or {}}, {"$facet": facets}]


def facets(
    collection: Collection[Document],
    condition: Document | None = None,
    *,
    specifications: Sequence[str] = (),
    most: int = 30,
) -> Facets:
    """Return counts of categories, tags and specification values, in one round trip.

    ``condition`` filters the documents, as for the page of products; for the other arguments see
    ``facet_pipeline``.
    """
    pipeline = facet_pipeline(condition, specifications=specifications, most=most)
    (result,) = collection.aggregate(pipeline)
    return {
        name: [(group["_id"], group["count"]) for group in groups if group["_id"] is not None]
        for name, groups in result.items()
    }


def _count(expression: str) -> Document:
    return {"$group": {"_id": expression, "count": {"$sum": 1}}}
