"""Run requests as a service does: traced, with a time limit, and without what may be missing.

A store that is away must not take the others with it. What the answer does not depend on is left
out, and ``missing`` says so; what it depends on is a ``StoreError``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import psycopg
import redis
from pymongo.errors import PyMongoError

from helpers.errors import BusyError, StockError, StoreError, StoreName
from helpers.joins.async_executor import AsyncAnswer, AsyncFill, answer_async
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
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import wait_at_most
from helpers.stores.circuit_breaker import Breakers, guarding
from helpers.stores.connect import explained
from helpers.stores.time_budgets import Budgets
from helpers.stores.trace import STORES, Trace

#: Where an answer is to be whole.
ALL_STORES: frozenset[StoreName] = frozenset(STORES)

#: Which products there are, PostgreSQL says: without it there is no answer.
NEEDED_ALWAYS: frozenset[StoreName] = frozenset({"PostgreSQL"})

# Of which store a request asks, and what it is called in a trace.
_KINDS: dict[type[Request[Any]], tuple[StoreName, str]] = {
    SelectProducts: ("PostgreSQL", "SELECT"),
    CountProducts: ("PostgreSQL", "count"),
    CountCategories: ("PostgreSQL", "count"),
    FillStock: ("PostgreSQL", "ledger"),
    FindMetadata: ("MongoDB", "find"),
    FindIds: ("MongoDB", "find"),
    CountMetadata: ("MongoDB", "count"),
    CountValues: ("MongoDB", "aggregate"),
    ReadStock: ("Redis", "MGET"),
}


class ResilientExecutor:
    """Answers the requests of one strategy, for ``drive_async``.

    ``trace`` notes each of them. A question may take ``seconds``, the same for each store or each
    its own (``None``: as long as the driver waits); where a store is silent for longer, it is left
    alone, and nobody waits for its driver. A store whose one of ``breakers`` is open is not asked.
    ``needed`` are the stores without which there is no answer. ``missing`` are those that an answer
    had to do without: they are not asked again.
    ``rows`` answers the requests to PostgreSQL, by default from the coordinator alone.
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
        rows: AsyncAnswer | None = None,
    ) -> None:
        self.trace = trace
        self.missing: set[StoreName] = set()
        self._stores = stores
        self._budgets = Budgets.even(seconds) if isinstance(seconds, float | int) else seconds
        self._needed = frozenset(needed)
        self._fill = fill
        self._breakers = breakers
        self._rows = rows

    async def __call__(self, request: Request[Any]) -> Any:
        """Answer one request. Raises ``StoreError`` where the answer cannot be done without."""
        store, name = _KINDS[type(request)]
        if isinstance(request, FillStock):
            return await self._fill_stock(request)
        may_be_missing = store not in self._needed and isinstance(request, FindMetadata | ReadStock)
        if not (may_be_missing and store in self.missing):
            try:
                with self._explaining(store), self._guarding(store):
                    return await self._noted(store, name, self._ask, store, request)
            except StoreError:
                if not may_be_missing:
                    raise
                self.missing.add(store)
        return [None] * len(request.ids) if isinstance(request, ReadStock) else []

    def _ask(self, store: StoreName, request: Request[Any]) -> Awaitable[Any]:
        if store == "PostgreSQL" and self._rows is not None:
            return self._rows(request)
        return answer_async(self._stores, request)

    async def _fill_stock(self, request: FillStock) -> Any:
        """Ask the ledger; without an answer the counts stay unknown."""
        if self._fill is None or "Redis" in self.missing:
            return {}
        # It asks Redis too, so its failures are not counted as PostgreSQL's.
        if self._breakers is not None and self._breakers.postgres.state != "closed":
            return {}
        try:
            with self._explaining("PostgreSQL"):
                return await self._noted("PostgreSQL", "ledger", self._fill, request.ids)
        except (StoreError, StockError, BusyError):
            return {}

    async def _noted(
        self, store: StoreName, name: str, ask: Callable[..., Awaitable[Any]], *arguments: Any
    ) -> Any:
        exchange = self.trace.begin(store, name)
        try:
            asking = ask(*arguments)
            return await (
                asking if self._budgets is None else wait_at_most(asking, self._budgets[store])
            )
        finally:
            exchange.extend()

    def _guarding(self, store: StoreName) -> AbstractContextManager[None]:
        return nullcontext() if self._breakers is None else guarding(self._breakers[store])

    @contextmanager
    def _explaining(self, store: StoreName) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise self._store_error(store, error) from None
        except (psycopg.Error, PyMongoError, redis.RedisError) as error:
            raise self._store_error(store, error) from error

    def _store_error(self, store: StoreName, error: Exception) -> StoreError:
        addresses = self._stores.addresses
        urls: dict[StoreName, str] = {
            "PostgreSQL": addresses.coordinator,
            "MongoDB": addresses.mongo,
            "Redis": addresses.redis,
        }
        if isinstance(error, TimeoutError):
            error = TimeoutError("timed out")  # the words by which its cause is known
        return explained(store, urls[store], error)
