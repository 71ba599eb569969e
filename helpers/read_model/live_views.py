"""The read model's views, kept joined in this process and checked at every request.

A copy of what is in Redis is fast to give, and old as soon as Redis has changed. Here the server
names the keys that change (``helpers.stores.key_changes``), and each request first waits until
every change is known that was acknowledged before it came: one round trip that carries nothing.
Usually nothing was named, and the answer is the bytes that were there. Else what was named is read
again, and no more than that (``view_copy``). So an answer is never older than its
question, as far as the views and the counts in Redis go; how far the views are behind PostgreSQL,
it says.

Nobody joins a check that was sent before he came, as in ``single_flight``: those who come meanwhile
share the next one. But there each read is a task, and each reader waits behind a shield; here, as
long as nothing has changed, a reader costs a future and a check a callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ConnectionError as LostError

from helpers.joins.driver_adapters import AsyncFill
from helpers.read_model.view_copy import PREFIXES, LiveList, ViewCopy
from helpers.stores.async_stores import AsyncStores, Limits
from helpers.stores.key_changes import KeyChanges

__all__ = ["LiveList", "LiveViews"]


class LiveViews:
    """All products as the read model has them, for any number of readers. Close it: ``aclose()``.

    It has one connection to Redis of its own, which the first reader opens. ``fill`` is asked for
    counts that Redis does not have. An answer of the server may take ``answer_seconds``, by default
    as long as one to ``stores``.
    """

    def __init__(
        self,
        stores: AsyncStores,
        *,
        fill: AsyncFill | None = None,
        answer_seconds: float | None = None,
    ) -> None:
        self._stores = stores
        self._fill = fill
        usual = stores.redis.connection_pool.connection_kwargs.get("socket_timeout")
        self._seconds = answer_seconds or usual or Limits().answer_seconds
        self._copy: ViewCopy | None = None
        # Those whom the check that runs will answer, and those who wait for the next one.
        self._served: list[asyncio.Future[LiveList]] = []
        self._coming: list[asyncio.Future[LiveList]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def read(self) -> LiveList:
        """Return the list as it is now, or newer. As long as nothing changes, it is one object.

        A connection that was lost is opened anew, once. What is raised, everybody gets who shares
        the check; the next one begins anew.

        Raises ``redis.TimeoutError`` where the server takes too long, ``redis.ConnectionError``
        where it cannot be reached, another ``redis.RedisError`` where it refuses; what ``fill``
        raises; and ``ReadModelError`` where a view is none.
        """
        reader: asyncio.Future[LiveList] = asyncio.get_running_loop().create_future()
        self._coming.append(reader)
        if not self._served:
            self._check()
        return await reader

    async def aclose(self) -> None:
        """Close the connection. Those who wait get ``redis.ConnectionError``, as later ones do."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._copy is not None:
            await self._copy.keys.aclose()
        self._finish(_closed())

    def __repr__(self) -> str:
        return f"<LiveViews of {self._stores!r}>"

    def _check(self) -> None:
        """Begin a check for all who came up to now."""
        self._served, self._coming = self._coming, []
        if self._is_closed:
            self._finish(_closed())
        elif self._copy is None or not self._copy.keys.is_open:
            self._begin(self._read_anew)
        else:
            self._copy.keys.ask(self._checked)

    def _checked(self, answer: Any) -> None:
        """Go on when all is named that was changed before the check, or with what went wrong."""
        copy = self._copy
        assert copy is not None
        if not isinstance(answer, Exception):
            found = copy.current()
            if found is not None:
                self._finish(found)
            else:
                self._begin(lambda: self._read_named(copy))
        elif isinstance(answer, LostError) and not self._is_closed:
            self._begin(self._read_anew)
        else:
            self._finish(answer)

    def _begin(self, reading: Callable[[], Awaitable[LiveList]]) -> None:
        # A task of its own: whoever of the readers is cancelled, it goes on for the others.
        self._task = asyncio.create_task(self._read_and_finish(reading))

    async def _read_and_finish(self, reading: Callable[[], Awaitable[LiveList]]) -> None:
        try:
            found = await reading()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the readers' to hear)
            self._finish(error)
        else:
            self._finish(found)

    async def _read_named(self, copy: ViewCopy) -> LiveList:
        try:
            return await copy.catch_up()
        except LostError:
            if copy.keys.is_open:
                raise  # it was ``fill`` that lost a connection
        return await self._read_anew()

    async def _read_anew(self) -> LiveList:
        if self._copy is not None:
            await self._copy.keys.aclose()
            self._copy = None
        keys = KeyChanges(self._stores.redis, PREFIXES, answer_seconds=self._seconds)
        await keys.open()
        self._copy = ViewCopy(self._stores, keys, self._fill)
        return await self._copy.catch_up()

    def _finish(self, answer: LiveList | Exception) -> None:
        """Give the answer to those whom the check was for, and begin the next one if need be."""
        served, self._served = self._served, []
        for reader in served:
            if reader.done():
                continue  # he was cancelled
            if isinstance(answer, Exception):
                reader.set_exception(answer)
            else:
                reader.set_result(answer)
        if self._coming:
            self._check()


def _closed() -> LostError:
    return LostError("Connection closed by us: these views are no longer read.")
