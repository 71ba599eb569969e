"""Keep an index of all products in memory, and apply every change before it is read.

Documents come from MongoDB's change stream: a read first asks for all events up to now, so it
includes every change that was acknowledged before. Categories come from PostgreSQL, which has no
such stream: a change is applied when it is announced (``product_changes``). If it is not announced,
it is found within ``_CHECK_SECONDS``, because a checksum per category differs.

The index is built in the background. Until then, and while a store is unavailable, there is none,
and callers ask the stores themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import bson
import psycopg
import redis
from pymongo.errors import OperationFailure, PyMongoError

from helpers.joins.product_index import ProductIndex
from helpers.joins.single_flight import SingleFlight
from helpers.read_model.product_changes import PRODUCT_CHANGES, VERSION
from helpers.stores import Document
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import wait_at_most

_BATCH = 2000
_CHECK_SECONDS = 10.0
_RETRY_SECONDS = 2.0
_START_SECONDS = 60.0  # how long a service waits for its index at its start
_STORE_ERRORS = (psycopg.Error, PyMongoError, redis.RedisError, OSError)

_ALL_CATEGORIES = "SELECT id, category FROM products"
_SOME_CATEGORIES = f"{_ALL_CATEGORIES} WHERE id = ANY(%s)"
_CHECKSUMS = "SELECT category, count(*), sum(id) FROM products GROUP BY category"


class IndexFollower:
    """The index of one service, for any number of tasks. Use it in an ``async with`` statement.

    A read waits at most ``seconds`` for changes.
    """

    def __init__(self, stores: AsyncStores, *, seconds: float) -> None:
        self._stores = stores
        self._seconds = seconds
        self._index: ProductIndex | None = None
        self._stream: Any = None
        self._token: Any = None
        self._position = "0-0"  # of the last announcement that was applied
        self._version = 0  # the number of announcements that were applied
        self._lock = asyncio.Lock()  # one task at a time reads changes and applies them
        self._lost = asyncio.Event()  # set if the index must be built again
        self._tried = asyncio.Event()  # set when it was built, or could not be built
        self._flights: SingleFlight[str, None] = SingleFlight()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Build the index, if that is possible now: so the first read is as fast as later ones."""
        self._task = asyncio.create_task(self._run())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), _START_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._close_stream()

    @property
    def latest(self) -> ProductIndex | None:
        """The index as of the last read; ``None`` if it is not available."""
        return self._index

    async def current(self) -> ProductIndex | None:
        """Return the index with all changes before this call; ``None`` if it is not available."""
        if self._index is None:
            return None
        try:
            await wait_at_most(self._flights.read("changes", self._catch_up), self._seconds)
        except (*_STORE_ERRORS, TimeoutError):
            return None
        return self._index

    async def _run(self) -> None:
        """Build the index, and build it again whenever it is lost."""
        while True:
            try:
                try:
                    async with self._lock:
                        await self._build()
                finally:
                    self._tried.set()
                await self._check_until_lost()
            except _STORE_ERRORS:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _build(self) -> None:
        # The positions are read first: changes during the build are applied afterwards.
        self._lost.clear()
        await self._close_stream()
        self._token = None
        await self._open_stream()
        await self._read_position()
        index = ProductIndex()
        rows = await self._rows(_ALL_CATEGORIES)
        await asyncio.to_thread(index.replace_categories, rows)
        # Range by range: reading all documents at once may take longer than one reply may take.
        put: asyncio.Task[None] | None = None
        for condition in _ranges(sorted(row[0] for row in rows)):
            found = self._stores.mongo.productmetas.find_raw_batches(
                {"product_id": condition}, batch_size=2 * _BATCH
            )
            batches = [batch async for batch in found]
            if put is not None:
                await put
            # In a thread, so that requests are served and the next range is read meanwhile.
            put = asyncio.create_task(asyncio.to_thread(_put_all, index, batches))
        if put is not None:
            await put
        self._index = index

    async def _check_until_lost(self) -> None:
        """Compare the categories from time to time; return when the index must be built again."""
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), _CHECK_SECONDS)
            with contextlib.suppress(*_STORE_ERRORS):
                await self._compare_categories()

    async def _compare_categories(self) -> None:
        """Find changes of categories that were not announced."""
        version = self._version
        # Without the lock: reads do not wait for this query.
        checksums = {row[0]: row[1:] for row in await self._rows(_CHECKSUMS)}
        async with self._lock:
            index = self._index
            if index is None or self._version != version:
                return
            if checksums != index.category_checksums():
                await self._read_position()
                index.replace_categories(await self._rows(_ALL_CATEGORIES))

    async def _catch_up(self) -> None:
        """Apply all changes so far."""
        async with self._lock:
            index = self._index
            if index is None:
                return
            try:
                await asyncio.gather(self._apply_events(index), self._apply_announcements(index))
            except OperationFailure:  # such as: the server no longer has all events
                self._lose()
                raise
            except BaseException:
                await self._close_stream()  # it is opened again where it ended
                raise

    async def _apply_events(self, index: ProductIndex) -> None:
        # A stream that failed or was interrupted is closed, and has no events any more.
        if self._stream is None or not self._stream.alive:
            await self._open_stream()
        while (event := await self._stream.try_next()) is not None:
            if "documentKey" not in event:  # the collection was dropped or renamed
                self._lose()
                return
            document = event.get("fullDocument")
            if document is None:
                index.remove_document(event["documentKey"]["_id"])
            else:
                index.put_document(document)
        self._token = self._stream.resume_token

    async def _apply_announcements(self, index: ProductIndex) -> None:
        client: Any = self._stores.redis
        version = int(await client.get(VERSION) or 0)
        if version == self._version:
            return
        entries = await client.xrange(PRODUCT_CHANGES, min=f"({self._position}")
        if self._version + len(entries) < version or version < self._version:
            # The stream has dropped announcements, or Redis has lost them.
            await self._read_position()
            index.replace_categories(await self._rows(_ALL_CATEGORIES))
            return
        ids = [int(n) for _, fields in entries for n in fields["products"].split(",") if n]
        found = dict(await self._rows(_SOME_CATEGORIES, ids))
        index.put_categories({product_id: found.get(product_id) for product_id in ids})
        self._version += len(entries)
        self._position = entries[-1][0]

    async def _read_position(self) -> None:
        client: Any = self._stores.redis
        self._version = int(await client.get(VERSION) or 0)
        last = await client.xrevrange(PRODUCT_CHANGES, count=1)
        self._position = last[0][0] if last else "0-0"

    async def _rows(self, statement: str, *parameters: Sequence[int]) -> list[Any]:
        async with self._stores.postgres.connection() as connection:
            cursor = await connection.execute(statement, parameters or None, prepare=False)
            return await cursor.fetchall()

    async def _open_stream(self) -> None:
        self._stream = await self._stores.mongo.productmetas.watch(
            full_document="updateLookup", resume_after=self._token, max_await_time_ms=1
        )
        if self._token is None:
            await self._stream.try_next()  # its reply has the current position
            self._token = self._stream.resume_token

    async def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(PyMongoError):
                await stream.close()

    def _lose(self) -> None:
        self._index = None
        self._lost.set()


def _ranges(ids: list[int]) -> Iterator[Document]:
    """Yield conditions that divide all numbers into ranges with a batch of these ids each."""
    above: Document = {}
    for last in ids[_BATCH - 1 :: _BATCH]:
        yield {**above, "$lte": last}
        above = {"$gt": last}
    yield above or {"$gte": 0}


def _put_all(index: ProductIndex, batches: list[Any]) -> None:
    for batch in batches:
        for document in bson.decode_all(batch):
            index.put_document(document)
