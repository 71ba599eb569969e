"""What is asked, in each store's own words. The drivers for waiting and for awaiting share it."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.joins.requests import (
    CountCategories,
    CountMetadata,
    CountProducts,
    CountValues,
    FindMetadata,
    SelectProducts,
)
from helpers.stores import Document

#: Documents of a find that PyMongo lets come in one answer, as far as MongoDB's 16 MiB reach: some
#: 80,000 of the course's. What is more takes another round trip for each 16 MiB.
ONE_ANSWER = 1_000_000

#: What is wanted of documents that only say which products are meant.
ID_ALONE = {"product_id": 1, "_id": 0}

# Values of specifications, or tags, that are counted: the most frequent ones.
_MOST_VALUES = 500


def statement(
    request: SelectProducts | CountProducts | CountCategories,
) -> tuple[str, list[object]]:
    """Return the SQL of a request, and its parameters."""
    if isinstance(request, CountCategories):
        return _count_categories(request)
    conditions, parameters = _where(request)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    if isinstance(request, CountProducts):
        return " ".join(("SELECT count(*) FROM products", where)), parameters
    # The digits of the price, as PostgreSQL writes them: the API shows a text.
    parts = ["SELECT id, name, price::text FROM products", where, "ORDER BY id"]
    if request.limit is not None:
        parts.append("LIMIT %s")
        parameters.append(request.limit)
    return " ".join(part for part in parts if part), parameters


def pipeline(request: CountValues) -> list[Document]:
    """Return the aggregation of a request: everything is counted in one reading.

    What is no object has no specifications: ``$objectToArray`` would fail. Of a list, each element
    counts. The name of a specification is ``k``, its value ``v``.
    """
    condition = dict(request.condition)
    if request.ids is not None:
        condition["product_id"] = {"$in": list(request.ids)}
    counted: list[Document] = [{"$sort": {"count": -1, "_id": 1}}, {"$limit": _MOST_VALUES}]
    # An array of objects has their type, too.
    is_object = {"specifications": {"$type": "object", "$not": {"$type": "array"}}}
    return [
        {"$match": condition},
        {
            "$facet": {
                "tags": [{"$unwind": "$tags"}, _count("$tags"), *counted],
                "specifications": [
                    {"$match": is_object},
                    {"$project": {"pair": {"$objectToArray": "$specifications"}}},
                    {"$unwind": "$pair"},
                    {"$unwind": "$pair.v"},
                    _count("$pair"),
                    *counted,
                ],
            }
        },
    ]


def condition(request: FindMetadata | CountMetadata, *, slow_lists: bool = False) -> Document:
    """Return the condition of a request for documents.

    ``slow_lists`` says that the server is slow at ``$in``, as ``slow_at_lists`` knows.
    """
    if isinstance(request, FindMetadata) and request.ids is not None:
        return {**request.condition, "product_id": _one_of(request.ids, slow_lists)}
    if request.after is not None:
        return {**request.condition, "product_id": {"$gt": request.after}}
    return request.condition


def _count_categories(request: CountCategories) -> tuple[str, list[object]]:
    parts = ["SELECT category, count(*) FROM products"]
    parameters: list[object] = []
    if request.ids is not None:
        parts.append("WHERE id = ANY(%s)")
        parameters.append(list(request.ids))
    parts.append("GROUP BY category ORDER BY count(*) DESC, category")
    return " ".join(parts), parameters


def _count(expression: object) -> Document:
    return {"$group": {"_id": expression, "count": {"$sum": 1}}}


def _where(request: SelectProducts | CountProducts) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    parameters: list[object] = []
    if isinstance(request, SelectProducts) and request.ids is not None:
        conditions.append("id = ANY(%s)")
        parameters.append(list(request.ids))
    if request.category is not None:
        conditions.append("category = %s")
        parameters.append(request.category)
    if request.after is not None:
        conditions.append("id > %s")
        parameters.append(request.after)
    return conditions, parameters


def _one_of(ids: Sequence[int], slow_lists: bool) -> object:
    """Return the condition for the documents of these products: one, a list or a range.

    A list says exactly what is wanted, and MongoDB looks up each id through the index. The
    course's own document server compares every id of a list with every document that it finds: a
    list of n costs it about n²/1000 + n/15 ms, a range n/25 ms (20,000 documents, 2 cores:
    50 ids 6.5 ms as a list, 2.6 ms as a range; 200 ids 53 and 8 ms; 1,000 ids 1,050 and 45 ms).
    So a range is the cheaper one there even where many of its documents are not wanted.
    """
    if len(ids) == 1:
        return ids[0]
    if slow_lists and ids:
        low, high = min(ids), max(ids)
        if high - low < len(ids) * (1.6 + len(ids) / 40):
            return {"$gte": low, "$lte": high}
    return {"$in": list(ids)}
