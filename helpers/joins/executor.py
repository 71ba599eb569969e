"""Answering a strategy's questions with the drivers that wait: one by one, or at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from helpers.catalog.model import stock_keys
from helpers.joins.bson_values import decode_batches
from helpers.joins.garbage_collection import gc_relaxed
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
    Strategy,
)
from helpers.joins.statements import ID_ALONE, ONE_ANSWER, condition, pipeline, statement
from helpers.metadata.document_ids import product_ids_of
from helpers.stores import Document, Stores
from helpers.stores.long_lists import slow_at_lists

T = TypeVar("T")

#: Reads counts of products from the ledger, as ``Stock.counts.fill`` does.
Fill = Callable[[Sequence[int]], Mapping[int, int | None]]
Answer = Callable[[Request[Any]], Any]


def run(
    stores: Stores, strategy: Strategy[T], *, threads: bool = False, fill: Fill | None = None
) -> T:
    """Run a strategy to its end, and return what it returns.

    With ``threads``, what may be asked at once is: by a thread for each store, since each of the
    three connections does one thing at a time. ``fill`` is asked for counts that Redis does not
    have; without it they stay unknown.

    Raises ``psycopg.Error``, ``pymongo.errors.PyMongoError`` or ``redis.RedisError`` when a store
    fails, and ``MetadataError`` where a product has two documents.
    """
    with gc_relaxed():
        return drive(strategy, lambda request: answer(stores, request, fill), threads=threads)


def drive(strategy: Strategy[T], asking: Answer, *, threads: bool = False) -> T:
    """Run a strategy to its end; ``asking`` answers each of its requests."""

    def one(asked: Any) -> Any:
        if isinstance(asked, Generator):
            return drive(asked, asking, threads=threads)
        return asking(asked)

    try:
        group = next(strategy)
        while True:
            if threads and len(group) > 1:
                # This thread waits for the first itself: a thread less to start and to join.
                with ThreadPoolExecutor(len(group) - 1) as pool:
                    others = [pool.submit(one, asked) for asked in group[1:]]
                    answers = [one(group[0]), *(other.result() for other in others)]
            else:
                answers = [one(asked) for asked in group]
            group = strategy.send(answers)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        strategy.close()


def answer(stores: Stores, request: Request[Any], fill: Fill | None = None) -> Any:
    """Ask one store one question. Raises the drivers' errors."""
    match request:
        case SelectProducts() | CountProducts() | CountCategories():
            return _ask_postgres(stores, request)
        case FindMetadata():
            return _find(stores, request)
        case CountMetadata():
            return stores.mongo.productmetas.count_documents(condition(request))
        case CountValues():
            return decode_batches(
                stores.mongo.productmetas.aggregate_raw_batches(pipeline(request))
            )[0]
        case FindIds():
            found = stores.mongo.productmetas.find_raw_batches(
                request.condition, ID_ALONE, batch_size=ONE_ANSWER
            )
            return product_ids_of(decode_batches(found))
        case ReadStock():
            return _read_stock(stores, request)
        case FillStock():
            return {} if fill is None else fill(request.ids)
    raise TypeError(f"{request!r} is no question to a store.")


def _ask_postgres(stores: Stores, request: SelectProducts | CountProducts | CountCategories) -> Any:
    # Not prepared: that would be another round trip at some time, and the plan would no longer be
    # made for these ids.
    cursor = stores.postgres.execute(*statement(request), prepare=False)
    rows = cursor.fetchall()
    return rows[0][0] if isinstance(request, CountProducts) else rows


def _find(stores: Stores, request: FindMetadata) -> list[Document]:
    # Whole documents, also what is not shown: leaving fields out costs the server more than
    # sending them (1,000 documents: 20 ms whole, 32 ms without _id).
    cursor = stores.mongo.productmetas.find_raw_batches(
        condition(request, slow_lists=slow_at_lists(stores.mongo.client)), batch_size=ONE_ANSWER
    )
    if request.limit is not None:
        cursor = cursor.sort("product_id").limit(request.limit)
    return decode_batches(cursor)


def _read_stock(stores: Stores, request: ReadStock) -> Any:
    # As bytes: a value that is no text is no count, but no reason to fail either.
    ask: Any = stores.redis.execute_command
    return ask("MGET", *stock_keys(request.ids), NEVER_DECODE=True)
