"""The read model, served: views that are kept while the service runs, and checked when read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import redis

from helpers.errors import ReadModelError, StoreError
from helpers.faces.api.answers import Answer, Content
from helpers.settings import Addresses
from helpers.shop.joins.run_async import AsyncFill
from helpers.shop.live_views import LiveList, LiveViews
from helpers.shop.view_keeper import ViewKeeper
from helpers.stores.async_stores import AsyncStores
from helpers.stores.connect import explained
from helpers.stores.stores import connect_all
from helpers.stores.trace import Trace


class ReadSide:
    """The list of all products from the read model."""

    def __init__(self, views: LiveViews, redis_url: str) -> None:
        self._views = views
        self._redis_url = redis_url
        self._last: tuple[LiveList, Content] | None = None

    async def read(self) -> Answer:
        """Return all products as the views have them, and how far these are behind.

        One question to Redis tells whether anything has changed.

        Raises ``StoreError``, and ``ReadModelError`` as long as not all views are made.
        """
        answer, _ = await self._read()
        return answer

    async def up_to_date(self) -> Answer | None:
        """Return the same; ``None`` where the views do not have all that was announced.

        Or where they cannot be read.
        """
        try:
            answer, views = await self._read()
        except (StoreError, ReadModelError):
            return None
        return None if views.behind else answer

    async def _read(self) -> tuple[Answer, LiveList]:
        trace = Trace()
        asked = trace.begin("Redis", "PING")
        try:
            views = await self._views.read()
        except redis.RedisError as error:
            raise explained("Redis", self._redis_url, error) from error
        finally:
            asked.extend()
        if not views.complete:
            raise ReadModelError("The views are not all made yet: try again in a moment.")
        plural = "" if views.behind == 1 else "s"
        note = f'read-model;desc="{views.behind} version{plural} behind"'
        return Answer(self._content(views), trace, notes=(note,)), views

    def _content(self, views: LiveList) -> Content:
        """Return the same content for the same list, so that it is compressed once."""
        if self._last is None or self._last[0] is not views:
            self._last = views, Content(views.body, views.etag.strip('"'))
        return self._last[1]


@contextlib.asynccontextmanager
async def open_read_side(
    addresses: Addresses, stores: AsyncStores, *, fill: AsyncFill, keep_seconds: float
) -> AsyncIterator[ReadSide]:
    """Keep the views every ``keep_seconds``, in a thread, and read them."""
    keeper = ViewKeeper(lambda: connect_all(addresses), pause_seconds=keep_seconds)
    views = LiveViews(stores, fill=fill)
    keeper.start()
    try:
        yield ReadSide(views, addresses.redis)
    finally:
        await views.aclose()
        await asyncio.to_thread(keeper.stop, wait_seconds=_STOP_SECONDS)


# A keeper that waits for a silent store is left behind: it keeps no process from ending.
_STOP_SECONDS = 5.0
