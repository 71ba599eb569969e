"""What is asked, in each store's own words. The drivers for waiting and for awaiting share it."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.shop.joins.requests import CountMetadata, CountProducts, FindMetadata, SelectProducts
from helpers.stores import Document

#: Documents of a find that PyMongo lets come in one answer, as far as MongoDB's 16 MiB reach: some
#: 80,000 of the course's. What is more takes another round trip for each 16 MiB.
ONE_ANSWER = 1_000_000


def statement(request: SelectProducts | CountProducts) -> tuple[str, list[object]]:
    """Return the SQL of a request, and its parameters."""
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


def condition(request: FindMetadata | CountMetadata, *, slow_lists: bool = False) -> Document:
    """Return the condition of a request for documents.

    ``slow_lists`` says that the server is slow at ``$in``, as ``slow_at_lists`` knows.
    """
    if isinstance(request, FindMetadata) and request.ids is not None:
        return {**request.condition, "product_id": _one_of(request.ids, slow_lists)}
    if request.after is not None:
        return {**request.condition, "product_id": {"$gt": request.after}}
    return request.condition


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
