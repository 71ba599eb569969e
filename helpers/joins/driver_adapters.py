"""Send a request to its store through the driver: SQL or a filter out, rows or documents back.

``send`` uses the blocking drivers, ``send_async`` the async ones; both share each statement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from helpers.catalog.model import stock_keys
from helpers.joins.assembly import decode_batches
from helpers.joins.requests import (
    CountCategories,
    CountMetadata,
    CountProducts,
    CountValues,
    FillStock,
    FindIds,
    FindMetadata,
    ReadStock,
    Request,
    SelectProducts,
)
from helpers.metadata.document_ids import product_ids_of
from helpers.stores import Document, Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.long_lists import slow_at_lists

#: Reads stock counts from the ledger, as ``Stock.counts.fill`` does.
Fill = Callable[[Sequence[int]], Mapping[int, int | None]]
AsyncFill = Callable[[Sequence[int]], Awaitable[Mapping[int, int | None]]]

#: A request to PostgreSQL, other than to the ledger.
PostgresRequest = SelectProducts | CountProducts | CountCategories

# The batch size of a find: PyMongo then fetches as many documents in one round trip as fit into
# MongoDB's 16 MiB, some 80,000 of the course's. Each further 16 MiB takes one more.
_ONE_BATCH = 1_000_000

# A list of ids costs a server that is slow at ``$in`` the square of its length.
_LONGEST_SLOW_LIST = 100

_ID_ONLY = {"product_id": 1, "_id": 0}

# How many tags, and how many values of specifications, are counted: the most frequent ones.
_MAX_VALUES = 500


def send(stores: Stores, request: Request[Any], fill: Fill | None = None) -> Any:
    """Send one request to its store and return the result. Raises the driver's errors."""
    documents = stores.mongo.productmetas
    match request:
        case SelectProducts() | CountProducts() | CountCategories():
            # Not prepared: preparing is one more round trip at some point, and the plan would no
            # longer be made for these ids.
            return _rows(request, stores.postgres.execute(*sql(request), prepare=False).fetchall())
        case FindMetadata():
            parts = _parts(request, slow_lists=slow_at_lists(stores.mongo.client))
            return decode_batches([batch for part in parts for batch in _find(documents, part)])
        case CountMetadata():
            return documents.count_documents(_filter(request))
        case CountValues():
            return decode_batches(documents.aggregate_raw_batches(_pipeline(request)))[0]
        case FindIds():
            return product_ids_of(decode_batches(_find_ids(documents, request)))
        case ReadStock():
            return _mget(stores.redis, request)
        case FillStock():
            return {} if fill is None else fill(request.ids)
    raise TypeError(f"{request!r} is not a request to a store.")


async def send_async(
    stores: AsyncStores, request: Request[Any], fill: AsyncFill | None = None
) -> Any:
    """Send one request to its store and return the result. Raises the driver's errors."""
    documents = stores.mongo.productmetas
    match request:
        case SelectProducts() | CountProducts() | CountCategories():
            async with stores.postgres.connection() as connection:
                cursor = await connection.execute(*sql(request), prepare=False)
                return _rows(request, await cursor.fetchall())
        case FindMetadata():
            parts = _parts(request, slow_lists=stores.slow_at_lists)
            return decode_batches(
                [batch for part in parts async for batch in _find(documents, part)]
            )
        case CountMetadata():
            return await documents.count_documents(_filter(request))
        case CountValues():
            counted = await documents.aggregate_raw_batches(_pipeline(request))
            return decode_batches([batch async for batch in counted])[0]
        case FindIds():
            found = _find_ids(documents, request)
            return product_ids_of(decode_batches([batch async for batch in found]))
        case ReadStock():
            return await _mget(stores.redis, request)
        case FillStock():
            return {} if fill is None else await fill(request.ids)
    raise TypeError(f"{request!r} is not a request to a store.")


def sql(request: PostgresRequest) -> tuple[str, list[object]]:
    """Return the SQL statement of a request and its parameters."""
    conditions: list[str] = []
    parameters: list[object] = []
    if not isinstance(request, CountProducts) and request.ids is not None:
        conditions.append("id = ANY(%s)")
        parameters.append(list(request.ids))
    if not isinstance(request, CountCategories):
        if request.category is not None:
            conditions.append("category = %s")
            parameters.append(request.category)
        if request.after is not None:
            conditions.append("id > %s")
            parameters.append(request.after)
    if isinstance(request, SelectProducts) and request.last is not None:
        conditions.append("id <= %s")
        parameters.append(request.last)
    where = [f"WHERE {' AND '.join(conditions)}"] if conditions else []
    match request:
        case CountProducts():
            parts = ["SELECT count(*) FROM products", *where]
        case CountCategories():
            parts = ["SELECT category, count(*) FROM products", *where]
            parts += ["GROUP BY category ORDER BY count(*) DESC, category"]
        case SelectProducts():
            # The price as PostgreSQL writes it, digit by digit: the API shows a string.
            parts = ["SELECT id, name, price::text FROM products", *where, "ORDER BY id"]
            if request.limit is not None:
                parts.append("LIMIT %s")
                parameters.append(request.limit)
    return " ".join(parts), parameters


def _rows(request: PostgresRequest, rows: list[Any]) -> Any:
    return rows[0][0] if isinstance(request, CountProducts) else rows


# The collection and the client below are the blocking or the async ones: both have these methods.


def _find(documents: Any, part: tuple[FindMetadata, Document]) -> Any:
    # Whole documents, including fields that are not shown: a projection costs the server more than
    # sending them (1,000 documents: 20 ms whole, 32 ms without _id).
    request, condition = part
    cursor = documents.find_raw_batches(condition, batch_size=_ONE_BATCH)
    if request.limit is not None:
        cursor = cursor.sort("product_id").limit(request.limit)
    return cursor


def _find_ids(documents: Any, request: FindIds) -> Any:
    return documents.find_raw_batches(request.condition, _ID_ONLY, batch_size=_ONE_BATCH)


def _mget(client: Any, request: ReadStock) -> Any:
    # As bytes: a value that is not text is not a stock count, but must not raise an error either.
    return client.execute_command("MGET", *stock_keys(request.ids), NEVER_DECODE=True)


def _parts(request: FindMetadata, *, slow_lists: bool) -> list[tuple[FindMetadata, Document]]:
    """Return the filters that together find the documents of a request, each with the request.

    It is one, unless the server is slow at ``$in`` and the list is long.
    """
    if request.ids is None:
        return [(request, _filter(request))]
    condition = _ids_filter(request.ids, slow_lists)
    lists = [condition]
    if slow_lists and isinstance(condition, dict) and "$in" in condition:
        ids = condition["$in"]
        starts = range(0, max(len(ids), 1), _LONGEST_SLOW_LIST)
        lists = [{"$in": ids[start : start + _LONGEST_SLOW_LIST]} for start in starts]
    return [(request, {**request.condition, "product_id": each}) for each in lists]


def _filter(request: FindMetadata | CountMetadata) -> Document:
    """Return the filter of a request for documents that does not name products."""
    if request.after is not None:
        return {**request.condition, "product_id": {"$gt": request.after}}
    return request.condition


def _ids_filter(ids: Sequence[int], slow_lists: bool) -> object:
    """Return the filter for the documents of these products: a value, a list or a range.

    A list is exact, and MongoDB looks up each id through the index. The embedded document server
    compares every id of a list with every document that it finds: a list of n ids takes it about
    n²/1000 + n/15 ms, a range n/25 ms (20,000 documents, 2 cores: 50 ids 6.5 ms as a list, 2.6 ms
    as a range; 200 ids 53 and 8 ms; 1,000 ids 1,050 and 45 ms). There, a range is cheaper even if
    it includes many other documents.
    """
    if len(ids) == 1:
        return ids[0]
    if slow_lists and ids:
        low, high = min(ids), max(ids)
        if high - low < len(ids) * (1.6 + len(ids) / 40):
            return {"$gte": low, "$lte": high}
    return {"$in": list(ids)}


def _pipeline(request: CountValues) -> list[Document]:
    """Return the aggregation of a request, which counts everything in one pass.

    Only objects have specifications: ``$objectToArray`` fails for other values. Each element of a
    list counts. The name of a specification is ``k``, its value ``v``.
    """
    condition = dict(request.condition)
    if request.ids is not None:
        condition["product_id"] = {"$in": list(request.ids)}
    most_frequent: list[Document] = [{"$sort": {"count": -1, "_id": 1}}, {"$limit": _MAX_VALUES}]
    # $type also matches an array of objects.
    is_object = {"specifications": {"$type": "object", "$not": {"$type": "array"}}}
    return [
        {"$match": condition},
        {
            "$facet": {
                "tags": [{"$unwind": "$tags"}, _count("$tags"), *most_frequent],
                "specifications": [
                    {"$match": is_object},
                    {"$project": {"pair": {"$objectToArray": "$specifications"}}},
                    {"$unwind": "$pair"},
                    {"$unwind": "$pair.v"},
                    _count("$pair"),
                    *most_frequent,
                ],
            }
        },
    ]


def _count(expression: object) -> Document:
    return {"$group": {"_id": expression, "count": {"$sum": 1}}}
