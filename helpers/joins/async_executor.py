"""Answering a strategy's questions with the drivers that are awaited: where the join is served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
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
from helpers.stores import Document
from helpers.stores.async_stores import AsyncStores

T = TypeVar("T")

#: Reads counts of products from the ledger.
AsyncFill = Callable[[Sequence[int]], Awaitable[Mapping[int, int | None]]]
AsyncAnswer = Callable[[Request[Any]], Awaitable[Any]]


async def run_async(
    stores: AsyncStores, strategy: Strategy[T], *, fill: AsyncFill | None = None
) -> T:
    """Run a strategy to its end, asking at once what may be, and return what it returns.

    ``fill`` is asked for counts that Redis does not have; without it they stay unknown. Whoever
    cancels it cancels what is being asked: no task and no connection stays behind.

    Raises ``psycopg.Error``, ``pymongo.errors.PyMongoError`` or ``redis.RedisError`` when a store
    fails, and ``MetadataError`` where a product has two documents.
    """
    with gc_relaxed():
        return await drive_async(strategy, lambda request: answer_async(stores, request, fill))


async def drive_async(strategy: Strategy[T], asking: AsyncAnswer) -> T:
    """Run a strategy to its end; ``asking`` answers each of its requests."""

    async def one(asked: Any) -> Any:
        if isinstance(asked, Generator):
            return await drive_async(asked, asking)
        return await _cancellable(asking(asked))

    try:
        group = next(strategy)
        while True:
            if len(group) > 1:
                answers = await _all([one(asked) for asked in group])
            else:
                answers = [await one(asked) for asked in group]
            group = strategy.send(answers)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        strategy.close()


async def answer_async(
    stores: AsyncStores, request: Request[Any], fill: AsyncFill | None = None
) -> Any:
    """Ask one store one question. Raises the drivers' errors."""
    match request:
        case SelectProducts() | CountProducts() | CountCategories():
            return await _ask_postgres(stores, request)
        case FindMetadata():
            return await _find(stores, request)
        case CountMetadata():
            return await stores.mongo.productmetas.count_documents(condition(request))
        case CountValues():
            batches = await stores.mongo.productmetas.aggregate_raw_batches(pipeline(request))
            return decode_batches([batch async for batch in batches])[0]
        case FindIds():
            found = stores.mongo.productmetas.find_raw_batches(
                request.condition, ID_ALONE, batch_size=ONE_ANSWER
            )
            return product_ids_of(decode_batches([batch async for batch in found]))
        case ReadStock():
            return await _read_stock(stores, request)
        case FillStock():
            return {} if fill is None else await fill(request.ids)
    raise TypeError(f"{request!r} is no question to a store.")


async def _all(awaited: Sequence[Awaitable[Any]]) -> list[Any]:
    """Await all at once. When one fails the others are cancelled, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_await(one)) for one in awaited]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _cancellable(asking: Awaitable[T]) -> T:
    """Await an answer; whoever is cancelled meanwhile is cancelled, whatever the driver says.

    A driver may raise an error of its own in place of the cancellation: PyMongo does.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await asking
    except Exception:
        if task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise


async def _await(one: Awaitable[T]) -> T:
    return await one


async def _ask_postgres(
    stores: AsyncStores, request: SelectProducts | CountProducts | CountCategories
) -> Any:
    async with stores.postgres.connection() as connection:
        cursor = await connection.execute(*statement(request), prepare=False)
        rows = await cursor.fetchall()
    return rows[0][0] if isinstance(request, CountProducts) else rows


async def _find(stores: AsyncStores, request: FindMetadata) -> list[Document]:
    cursor = stores.mongo.productmetas.find_raw_batches(
        condition(request, slow_lists=stores.slow_at_lists), batch_size=ONE_ANSWER
    )
    if request.limit is not None:
        cursor = cursor.sort("product_id").limit(request.limit)
    return decode_batches([batch async for batch in cursor])


async def _read_stock(stores: AsyncStores, request: ReadStock) -> Any:
    keys = stock_keys(request.ids)
    ask: Any = stores.redis.execute_command
    return await ask("MGET", *keys, NEVER_DECODE=True)
