"""Facets: how many products a shop's sidebar may promise for each category, tag and value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.collection import Collection

from helpers.stores import Document

Facets = dict[str, list[tuple[Any, int]]]


def facet_pipeline(
    condition: Document | None = None, *, specifications: Sequence[str] = (), most: int = 30
) -> list[Document]:
    """Return the pipeline: one ``$match``, then one ``$facet`` that counts everything at once.

    ``specifications`` are those to count the values of. Each list has the ``most`` frequent
    values; values that are equally frequent come in their own order.
    """
    count_first: list[Document] = [{"$sort": {"count": -1, "_id": 1}}, {"$limit": most}]
    facets: Document = {
        "category": [_count("$category"), *count_first],
        "tags": [{"$unwind": "$tags"}, _count("$tags"), *count_first],
    }
    for name in specifications:
        path = f"specifications.{name}"
        # A name of a facet may hold no dot.
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
    """Count categories, tags and values of specifications in one round trip.

    ``condition`` is that of the page beside which they are shown; see ``facet_pipeline``.
    """
    pipeline = facet_pipeline(condition, specifications=specifications, most=most)
    (answer,) = collection.aggregate(pipeline)
    return {
        name: [(group["_id"], group["count"]) for group in groups if group["_id"] is not None]
        for name, groups in answer.items()
    }


def _count(expression: str) -> Document:
    return {"$group": {"_id": expression, "count": {"$sum": 1}}}
