"""The read model, served: views that are kept while the service runs, and checked when read."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import redis

from helpers.api.responses import Answer, Content
from helpers.catalog.model import ProductJSON, stock_key
from helpers.errors import CourseError, ReadModelError, StoreError
from helpers.joins.assembly import stock_text
from helpers.joins.driver_adapters import AsyncFill
from helpers.read_model.view_cache import ProductList, ViewCache
from helpers.read_model.view_worker import ViewWorker
from helpers.read_model.views import view_key
from helpers.settings import Addresses
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import wait_at_most
from helpers.stores.circuit_breaker import Breaker, Breakers, guarding
from helpers.stores.connect import explained, explaining_all
from helpers.stores.stores import connect_all
from helpers.stores.time_budgets import Budgets
from helpers.stores.trace import Trace


class ViewService:
    """The products from the read model, which ``keeper`` keeps.

    An answer of Redis may take ``seconds``; where ``breaker`` is open it is not asked.
    """

    def __init__(
        self,
        stores: AsyncStores,
        views: ViewCache,
        keeper: ViewWorker,
        *,
        seconds: float,
        breaker: Breaker | None,
    ) -> None:
        self._stores = stores
        self._views = views
        self._keeper = keeper
        self._seconds = seconds
        self._breaker = breaker
        self._last: tuple[ProductList, Content] | None = None

    async def read(self) -> Answer:
        """Return all products as the views have them, and how far these are behind.

        One question to Redis tells whether anything has changed.

        Raises ``StoreError``, and ``ReadModelError`` as long as not all views are made.
        """
        answer, _ = await self._read()
        return answer

    async def up_to_date(self) -> Answer | None:
        """Return the same; ``None`` where the views do not have all that was announced.

        Or where they cannot be read, or their keeper does not reach the stores.
        """
        if _is_cut_off(self._keeper):
            return None
        try:
            answer, views = await self._read()
        except CourseError:
            return None
        return None if views.behind else answer

    async def instead(self, error: StoreError, product_id: int | None = None) -> Answer | None:
        """Return what is to be answered in place of ``error``: all products, or one, with an age.

        ``None`` where it is not PostgreSQL that is away, or where the views do not tell.
        """
        age = self._keeper.age_seconds
        if error.store != "PostgreSQL" or math.isinf(age):
            return None
        try:
            if product_id is None:
                answer, _ = await self._read()
            else:
                answer = await self._read_one(product_id)
        except CourseError:
            return None
        return replace(answer, missing=frozenset({"PostgreSQL"}), age_seconds=age)

    async def _read(self) -> tuple[Answer, ProductList]:
        trace = Trace()
        views: ProductList = await self._ask(trace, "PING", self._views.read)
        if not views.complete:
            raise _not_made("The views are not all made yet")
        plural = "" if views.behind == 1 else "s"
        note = f'read-model;desc="{views.behind} version{plural} behind"'
        return Answer(self._content(views), trace, notes=(note,)), views

    async def _read_one(self, product_id: int) -> Answer:
        trace = Trace()
        keys = view_key(product_id), stock_key(product_id)
        ask: Any = self._stores.redis.execute_command
        view, count = await self._ask(trace, "MGET", lambda: ask("MGET", *keys, NEVER_DECODE=True))
        if view is None:
            raise _not_made(f"There is no view of product {product_id}")
        product: ProductJSON = orjson.loads(view)
        product["stock"] = stock_text(count)
        return Answer(Content(orjson.dumps(product)), trace)

    async def _ask(self, trace: Trace, name: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        url = self._stores.addresses.redis
        try:
            with contextlib.nullcontext() if self._breaker is None else guarding(self._breaker):
                asked = trace.begin("Redis", name)
                try:
                    return await wait_at_most(ask(), self._seconds)
                finally:
                    asked.extend()
        except redis.RedisError as error:
            raise explained("Redis", url, error) from error
        except TimeoutError:
            raise explained("Redis", url, TimeoutError("timed out")) from None

    def _content(self, views: ProductList) -> Content:
        """Return the same content for the same list, so that it is compressed once."""
        if self._last is None or self._last[0] is not views:
            self._last = views, Content(views.body, views.etag.strip('"'))
        return self._last[1]


@contextlib.asynccontextmanager
async def open_view_service(
    addresses: Addresses,
    stores: AsyncStores,
    *,
    fill: AsyncFill,
    keep_seconds: float,
    budgets: Budgets,
    breakers: Breakers | None,
) -> AsyncIterator[ViewService]:
    """Keep the views every ``keep_seconds``, in a thread, and read them.

    Counts that Redis does not have are asked of ``fill``, unless PostgreSQL is away.
    """
    keeper = ViewWorker(lambda: connect_all(addresses), pause_seconds=keep_seconds)

    async def fill_if_there(product_ids: Sequence[int]) -> Mapping[int, int | None]:
        is_open = breakers is not None and breakers.postgres.state != "closed"
        if is_open or _is_cut_off(keeper):
            return {}
        with explaining_all(addresses):
            return await fill(product_ids)

    views = ViewCache(stores, fill=fill_if_there, answer_seconds=budgets.redis)
    keeper.start()
    try:
        yield ViewService(
            stores,
            views,
            keeper,
            seconds=budgets.redis,
            breaker=None if breakers is None else breakers.redis,
        )
    finally:
        await views.aclose()
        await asyncio.to_thread(keeper.stop, wait_seconds=_STOP_SECONDS)


def _is_cut_off(keeper: ViewWorker) -> bool:
    return keeper.state == "failing" or keeper.seconds_since_response > _SILENT_SECONDS


def _not_made(what: str) -> ReadModelError:
    return ReadModelError(f"{what}: try again in a moment.")


# A keeper that waits for a silent store is left behind: it keeps no process from ending.
_STOP_SECONDS = 5.0

# A keeper that has not heard of the stores for so long waits for one that is silent.
_SILENT_SECONDS = 3.0
