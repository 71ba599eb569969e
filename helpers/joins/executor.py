"""Run strategies: send their requests, concurrently if allowed, and feed the results back.

``run`` blocks, ``run_async`` runs in an event loop; both raise the drivers' errors.
``ResilientExecutor`` is what the service uses: it adds a trace, time limits and circuit breakers,
and tolerates the loss of a store that the result does not depend on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from helpers.errors import BusyError, StockError, StoreError, StoreName
from helpers.joins.driver_adapters import AsyncFill, Fill, send, send_async
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.requests import (
    CountMetadata,
    CountValues,
    FillStock,
    FindIds,
    FindMetadata,
    ReadStock,
    Request,
    Strategy,
)
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import wait_at_most
from helpers.stores.circuit_breaker import Breaker, Breakers, guarding
from helpers.stores.connection_limits import Budgets, seconds_of
from helpers.stores.trace import STORES, Trace

T = TypeVar("T")

#: Sends one request and returns its result.
Send = Callable[[Request[Any]], Any]
AsyncSend = Callable[[Request[Any]], Awaitable[Any]]

#: The stores that a complete product depends on.
ALL_STORES: frozenset[StoreName] = frozenset(STORES)

#: PostgreSQL knows which products exist: without it there is no result.
NEEDED_ALWAYS: frozenset[StoreName] = frozenset({"PostgreSQL"})


def is_search(request: Request[Any]) -> bool:
    """Tell whether a request makes MongoDB search, rather than look up or list, documents."""
    if isinstance(request, FindMetadata):
        return request.ids is None and bool(request.condition)
    return isinstance(request, FindIds | CountMetadata | CountValues)


def run(
    stores: Stores, strategy: Strategy[T], *, threads: bool = False, fill: Fill | None = None
) -> T:
    """Run a strategy with blocking drivers and return its result.

    With ``threads``, concurrent requests get a thread each, since each of the three connections
    runs one request at a time. ``fill`` reads stock counts that Redis does not have; without it
    they stay unknown.

    Raises ``psycopg.Error``, ``pymongo.errors.PyMongoError`` or ``redis.RedisError`` if a store
    fails, and ``MetadataError`` if a product has two documents.
    """
    with gc_relaxed():
        return execute(strategy, lambda request: send(stores, request, fill), threads=threads)


async def run_async(
    stores: AsyncStores, strategy: Strategy[T], *, fill: AsyncFill | None = None
) -> T:
    """Run a strategy with async drivers, requests concurrently if allowed; return its result.

    ``fill`` is as in ``run``. Cancelling this cancels the requests in flight: no task is left
    running and no connection stays checked out. Raises what ``run`` raises.
    """
    with gc_relaxed():
        return await execute_async(strategy, lambda request: send_async(stores, request, fill))


def execute(strategy: Strategy[T], send_one: Send, *, threads: bool = False) -> T:
    """Run a strategy, sending each request with ``send_one``, and return its result."""

    def result_of(member: Any) -> Any:
        if isinstance(member, Generator):
            return execute(member, send_one, threads=threads)
        return send_one(member)

    try:
        group = next(strategy)
        while True:
            if threads and len(group) > 1:
                # This thread runs the first member itself: one thread less to start and join.
                with ThreadPoolExecutor(len(group) - 1) as pool:
                    others = [pool.submit(result_of, member) for member in group[1:]]
                    results = [result_of(group[0]), *(other.result() for other in others)]
            else:
                results = [result_of(member) for member in group]
            group = strategy.send(results)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        strategy.close()


async def execute_async(strategy: Strategy[T], send_one: AsyncSend) -> T:
    """Run a strategy in the event loop, sending each request with ``send_one``."""

    async def result_of(member: Any) -> Any:
        if isinstance(member, Generator):
            return await execute_async(member, send_one)
        return await _cancellable(send_one(member))

    try:
        group = next(strategy)
        while True:
            if len(group) > 1:
                results = await _gather([result_of(member) for member in group])
            else:
                results = [await result_of(member) for member in group]
            group = strategy.send(results)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        strategy.close()


@dataclass(frozen=True)
class SearchLimits:
    """The limits of searches in MongoDB: that one takes long says nothing about lookups.

    ``seconds`` includes the wait for ``slots``, which is how many may run at a time.
    """

    seconds: float
    slots: asyncio.Semaphore
    breaker: Breaker | None


class ResilientExecutor:
    """Runs strategies for one response, without the stores that the response can do without.

    ``trace`` records each request. ``seconds`` limits each request, for all stores or per store
    (``None``: no limit but the driver's); a request that takes longer is abandoned without waiting
    for its driver. No request is sent to a store whose circuit in ``breakers`` is open. ``rows``
    sends the requests to PostgreSQL, by default to the coordinator alone. ``searches`` are the
    limits of searches in MongoDB, by default those of all requests.

    A failure of a store in ``needed`` raises ``StoreError``. Any other store that fails is added to
    ``missing``, its data is left out, and no further request is sent to it.
    """

    def __init__(
        self,
        stores: AsyncStores,
        *,
        trace: Trace,
        seconds: Budgets | float | None,
        needed: Collection[StoreName] = NEEDED_ALWAYS,
        fill: AsyncFill | None = None,
        breakers: Breakers | None = None,
        rows: AsyncSend | None = None,
        searches: SearchLimits | None = None,
    ) -> None:
        self.trace = trace
        self.missing: set[StoreName] = set()
        self._stores = stores
        self._seconds = seconds
        self._needed = frozenset(needed)
        self._fill = fill
        self._breakers = breakers
        self._rows = rows
        self._searches = searches

    async def run(self, strategy: Strategy[T]) -> T:
        """Run a strategy and return its result. Raises ``StoreError`` and ``MetadataError``."""
        return await execute_async(strategy, self.send)

    async def send(self, request: Request[Any]) -> Any:
        """Send one request and return its result, which is empty if its store is missing.

        Raises ``StoreError`` if the response cannot do without it.
        """
        store = request.store
        if isinstance(request, FillStock):
            return await self._fill_stock(request)
        is_optional = store not in self._needed and isinstance(request, FindMetadata | ReadStock)
        if not (is_optional and store in self.missing):
            try:
                with self._stores.explaining(store):
                    if self._searches is not None and is_search(request):
                        return await self._search(request, self._searches)
                    with self._breaker(store):
                        return await self._traced(request, self._send(request))
            except StoreError:
                if not is_optional:
                    raise
                self.missing.add(store)
        return [None] * len(request.ids) if isinstance(request, ReadStock) else []

    def _send(self, request: Request[Any]) -> Awaitable[Any]:
        if request.store == "PostgreSQL" and self._rows is not None:
            return self._rows(request)
        return send_async(self._stores, request)

    async def _search(self, request: Request[Any], limits: SearchLimits) -> Any:
        async def search() -> Any:
            async with limits.slots:
                return await send_async(self._stores, request)

        with nullcontext() if limits.breaker is None else guarding(limits.breaker):
            return await self._traced(request, search(), limits.seconds)

    async def _fill_stock(self, request: FillStock) -> Any:
        """Read stock counts from the ledger; if that fails they stay unknown."""
        if self._fill is None or "Redis" in self.missing:
            return {}
        # The ledger uses Redis too, so its failures do not count as failures of PostgreSQL.
        if self._breakers is not None and self._breakers["PostgreSQL"].state != "closed":
            return {}
        try:
            with self._stores.explaining("PostgreSQL"):
                return await self._traced(request, self._fill(request.ids))
        except (StoreError, StockError, BusyError):
            return {}

    async def _traced(
        self, request: Request[Any], sending: Awaitable[Any], seconds: float | None = None
    ) -> Any:
        if seconds is None and self._seconds is not None:
            seconds = seconds_of(self._seconds, request.store)
        round_trip = self.trace.begin(request.store, request.name)
        try:
            return await (sending if seconds is None else wait_at_most(sending, seconds))
        finally:
            round_trip.extend()

    def _breaker(self, store: StoreName) -> AbstractContextManager[None]:
        return nullcontext() if self._breakers is None else guarding(self._breakers[store])


async def _gather(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    """Await all concurrently. If one fails, cancel the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_await(awaitable)) for awaitable in awaitables]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _cancellable(awaitable: Awaitable[T]) -> T:
    """Await a driver, and raise ``CancelledError`` if the task is cancelled meanwhile.

    A driver may raise its own error instead of the cancellation: PyMongo does.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await awaitable
    except Exception:
        if task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise
