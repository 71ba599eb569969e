"""A cache of the read model's views in this process, validated on each read.

A cache is stale as soon as Redis changes. Here the server announces the keys that change
(``helpers.stores.key_changes``), and each read first waits until all changes are known that were
acknowledged before it: one round trip without data. Usually nothing has changed, and the result is
the cached bytes. Otherwise only the changed keys are read again (``cached_views``). So a result is
never older than its request, as far as the views and stock counts in Redis are concerned; it tells
how far the views are behind PostgreSQL.

As in ``single_flight``, a reader never joins a check that was sent before it came: all readers that
come meanwhile share the next one. But there each read is a task that readers wait for behind a
shield; here, as long as nothing changes, a reader costs a future and a check costs a callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ConnectionError as LostError

from helpers.joins.driver_adapters import AsyncFill
from helpers.read_model.cached_views import PREFIXES, CachedViews, ProductList
from helpers.stores.async_stores import AsyncStores
from helpers.stores.key_changes import KeyChanges

__all__ = ["ProductList", "ViewCache"]


class ViewCache:
    """All products of the read model, for any number of concurrent readers.

    Close it with ``aclose()``. It has its own connection to Redis, which the first reader opens.
    ``fill`` reads stock counts that Redis does not have. A reply of the server may take
    ``answer_seconds``.
    """

    def __init__(
        self,
        stores: AsyncStores,
        *,
        fill: AsyncFill | None = None,
        answer_seconds: float = 10.0,
    ) -> None:
        self._stores = stores
        self._fill = fill
        self._seconds = answer_seconds
        self._views: CachedViews | None = None
        # The readers that the current check serves, and those that wait for the next one.
        self._served: list[asyncio.Future[ProductList]] = []
        self._waiting: list[asyncio.Future[ProductList]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def read(self) -> ProductList:
        """Return the list as of this call, or newer: the same object if nothing has changed.

        A lost connection is reopened once. All readers that share a check get its error; the next
        check starts over.

        Raises ``redis.TimeoutError`` if the server takes too long, ``redis.ConnectionError`` if it
        cannot be reached, another ``redis.RedisError`` if it returns an error; what ``fill``
        raises; and ``ReadModelError`` if a view is invalid.
        """
        reader: asyncio.Future[ProductList] = asyncio.get_running_loop().create_future()
        self._waiting.append(reader)
        if not self._served:
            self._check()
        return await reader

    async def aclose(self) -> None:
        """Close the connection. Current and later readers get ``redis.ConnectionError``."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._views is not None:
            await self._views.keys.aclose()
        self._finish(_closed())

    def __repr__(self) -> str:
        return f"<ViewCache of {self._stores!r}>"

    def _check(self) -> None:
        """Start a check for all readers that wait."""
        self._served, self._waiting = self._waiting, []
        if self._is_closed:
            self._finish(_closed())
        elif self._views is None or not self._views.keys.is_open:
            self._start(self._reconnect)
        else:
            self._views.keys.ping(self._checked)

    def _checked(self, reply: Any) -> None:
        """Continue when all changes before the check are known, or with the check's error."""
        views = self._views
        assert views is not None
        if not isinstance(reply, Exception):
            found = views.current()
            if found is not None:
                self._finish(found)
            else:
                self._start(lambda: self._read_changed(views))
        elif isinstance(reply, LostError) and not self._is_closed:
            self._start(self._reconnect)
        else:
            self._finish(reply)

    def _start(self, read: Callable[[], Awaitable[ProductList]]) -> None:
        # A separate task: cancelling one reader does not cancel it for the others.
        self._task = asyncio.create_task(self._read_and_finish(read))

    async def _read_and_finish(self, read: Callable[[], Awaitable[ProductList]]) -> None:
        try:
            found = await read()
        except Exception as error:  # noqa: BLE001 (any error is raised by the readers)
            self._finish(error)
        else:
            self._finish(found)

    async def _read_changed(self, views: CachedViews) -> ProductList:
        try:
            return await views.catch_up()
        except LostError:
            if views.keys.is_open:
                raise  # ``fill`` lost a connection, not this cache
        return await self._reconnect()

    async def _reconnect(self) -> ProductList:
        if self._views is not None:
            await self._views.keys.aclose()
            self._views = None
        keys = KeyChanges(self._stores.redis, PREFIXES, answer_seconds=self._seconds)
        await keys.open()
        self._views = CachedViews(self._stores, keys, self._fill)
        return await self._views.catch_up()

    def _finish(self, result: ProductList | Exception) -> None:
        """Pass the result to the readers of the current check, and start the next one if needed."""
        served, self._served = self._served, []
        for reader in served:
            if reader.done():
                continue  # cancelled
            if isinstance(result, Exception):
                reader.set_exception(result)
            else:
                reader.set_result(result)
        if self._waiting:
            self._check()


def _closed() -> LostError:
    return LostError("Connection closed by us: the cache of the views is closed.")
