"""Read products from the read model, which a background worker keeps up to date."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from helpers.api.responses import JSONBody, ReadResult
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
from helpers.stores.connect import explaining_all
from helpers.stores.connection_limits import Budgets
from helpers.stores.stores import connect_all
from helpers.stores.trace import Trace

# A background worker that waits for an unresponsive store is not waited for longer: its thread is
# a daemon, so it does not keep the process from ending.
_STOP_SECONDS = 5.0

# If the background worker has had no response for so long, a store is unresponsive.
_UNRESPONSIVE_SECONDS = 3.0


class ViewService:
    """Reads from the read model that ``worker`` keeps up to date.

    Each request to Redis may take ``seconds``. None is sent while the circuit of ``breaker`` is
    open.
    """

    def __init__(
        self,
        stores: AsyncStores,
        views: ViewCache,
        worker: ViewWorker,
        *,
        seconds: float,
        breaker: Breaker | None,
    ) -> None:
        self._stores = stores
        self._views = views
        self._worker = worker
        self._seconds = seconds
        self._breaker = breaker
        self._last: tuple[ProductList, JSONBody] | None = None

    async def read(self) -> ReadResult:
        """Return all products as the views have them, with the number of versions they are behind.

        One round trip to Redis tells whether anything has changed.

        Raises ``StoreError``, and ``ReadModelError`` until all views are built.
        """
        result, _ = await self._read()
        return result

    async def read_if_current(self) -> ReadResult | None:
        """Return all products, or ``None`` if the views may be out of date.

        That is so if announced changes are missing from them, if they cannot be read, or if the
        background worker cannot reach the stores.
        """
        if _is_cut_off(self._worker):
            return None
        try:
            result, views = await self._read()
        except CourseError:
            return None
        return None if views.behind else result

    async def read_stale(
        self, error: StoreError, product_id: int | None = None
    ) -> ReadResult | None:
        """Return all products, or one product, with an age, to be served instead of ``error``.

        Returns ``None`` if another store than PostgreSQL is unavailable, or if the views cannot be
        read.
        """
        age = self._worker.age_seconds
        if error.store != "PostgreSQL" or math.isinf(age):
            return None
        try:
            if product_id is None:
                result, _ = await self._read()
            else:
                result = await self._read_one(product_id)
        except CourseError:
            return None
        return replace(result, missing=frozenset({"PostgreSQL"}), age_seconds=age)

    async def _read(self) -> tuple[ReadResult, ProductList]:
        trace = Trace()
        views: ProductList = await self._request(trace, "PING", self._views.read)
        if not views.complete:
            raise _incomplete("Some views are not built yet")
        plural = "" if views.behind == 1 else "s"
        note = f'read-model;desc="{views.behind} version{plural} behind"'
        return ReadResult(self._body(views), trace, timing_notes=(note,)), views

    async def _read_one(self, product_id: int) -> ReadResult:
        trace = Trace()
        keys = view_key(product_id), stock_key(product_id)
        execute: Any = self._stores.redis.execute_command
        view, count = await self._request(
            trace, "MGET", lambda: execute("MGET", *keys, NEVER_DECODE=True)
        )
        if view is None:
            raise _incomplete(f"There is no view of product {product_id}")
        product: ProductJSON = orjson.loads(view)
        product["stock"] = stock_text(count)
        return ReadResult(JSONBody(orjson.dumps(product)), trace)

    async def _request(self, trace: Trace, name: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """Send one request to Redis within its time limit, and add it to ``trace`` as ``name``."""
        guard = contextlib.nullcontext() if self._breaker is None else guarding(self._breaker)
        with self._stores.explaining("Redis"), guard:
            span = trace.begin("Redis", name)
            try:
                return await wait_at_most(send(), self._seconds)
            finally:
                span.extend()

    def _body(self, views: ProductList) -> JSONBody:
        """Return the same body for the same list, so that it is compressed only once."""
        if self._last is None or self._last[0] is not views:
            self._last = views, JSONBody(views.body, views.etag.strip('"'))
        return self._last[1]


@contextlib.asynccontextmanager
async def open_view_service(
    addresses: Addresses,
    stores: AsyncStores,
    *,
    fill: AsyncFill,
    interval_seconds: float,
    budgets: Budgets,
    breakers: Breakers | None,
) -> AsyncIterator[ViewService]:
    """Run the views' background worker every ``interval_seconds`` in a thread, and read the views.

    Stock counts that Redis does not have come from ``fill``, unless PostgreSQL is unavailable.
    """
    worker = ViewWorker(lambda: connect_all(addresses), pause_seconds=interval_seconds)

    async def fill_if_available(product_ids: Sequence[int]) -> Mapping[int, int | None]:
        is_open = breakers is not None and breakers["PostgreSQL"].state != "closed"
        if is_open or _is_cut_off(worker):
            return {}
        with explaining_all(addresses):
            return await fill(product_ids)

    views = ViewCache(stores, fill=fill_if_available, answer_seconds=budgets["Redis"])
    worker.start()
    try:
        yield ViewService(
            stores,
            views,
            worker,
            seconds=budgets["Redis"],
            breaker=None if breakers is None else breakers["Redis"],
        )
    finally:
        await views.aclose()
        await asyncio.to_thread(worker.stop, wait_seconds=_STOP_SECONDS)


def _is_cut_off(worker: ViewWorker) -> bool:
    return worker.state == "failing" or worker.seconds_since_response > _UNRESPONSIVE_SECONDS


def _incomplete(what: str) -> ReadModelError:
    return ReadModelError(f"{what}: try again in a moment.")
