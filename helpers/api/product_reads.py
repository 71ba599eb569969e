"""Read products for the API: joined from the three stores, shared by simultaneous requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from helpers.api.responses import JSONBody, ReadResult
from helpers.errors import StoreError, StoreName
from helpers.joins import (
    Query,
    SingleFlight,
    count_categories,
    count_values,
    products_json,
    strategies,
)
from helpers.joins.driver_adapters import AsyncFill
from helpers.joins.executor import NEEDED_ALWAYS, ResilientExecutor, SearchLimits
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.page_facets import FacetCounts, ValueCount
from helpers.joins.pages import find_page
from helpers.joins.partial_answers import PartialRows, ShardReader, matching_ids, page_ids
from helpers.joins.product_index import ProductIndex
from helpers.joins.requests import FindIds, Strategy
from helpers.read_model.index_follower import IndexFollower
from helpers.stores.async_stores import AsyncStores
from helpers.stores.circuit_breaker import Breakers
from helpers.stores.connection_limits import Budgets
from helpers.stores.trace import Trace

T = TypeVar("T")


class ProductReader:
    """Read the products of one shop. Equal requests at the same time share one result.

    A shared result is never older than the request that gets it. Each request to a store may take
    ``seconds``; a store with an open circuit in ``breakers`` is treated as unavailable; ``fill``
    reads from PostgreSQL the stock counts that Redis does not have; ``index`` replaces
    searches in MongoDB, which else have the limits ``searches``.

    All methods raise ``StoreError`` if a store is unavailable without which there is no result,
    and ``MetadataError`` if a product has two documents.
    """

    def __init__(
        self,
        stores: AsyncStores,
        *,
        seconds: Budgets | float,
        fill: AsyncFill | None = None,
        breakers: Breakers | None = None,
        index: IndexFollower | None = None,
        searches: SearchLimits | None = None,
    ) -> None:
        self._stores = stores
        self._seconds = seconds
        self._fill = fill
        self._breakers = breakers
        self._index = index
        self._searches = searches
        self._flights: SingleFlight[object, ReadResult] = SingleFlight()
        self.workers = ShardReader(stores)

    async def all_products(self) -> ReadResult:
        """Return all products, in order of id."""
        return await self._share("all products", self._read_all)

    async def page(self, query: Query) -> ReadResult:
        """Return one page of the products that meet ``query``."""
        return await self._share(query, lambda: self._read_page(query))

    async def product(self, product_id: int) -> ReadResult | None:
        """Return one product, or ``None`` if there is no such product."""
        found = await self._share(product_id, lambda: self._read_product(product_id))
        return found if found.body.content else None

    async def facets(self, query: Query, find: str | None = None) -> ReadResult:
        """Return how many products have each category, tag and specification.

        Only those that contain ``find``, if it is given. A part whose store is unavailable is null.
        """
        return await self._share(("facets", query, find), lambda: self._read_facets(query, find))

    async def _share(self, key: object, read: Callable[[], Awaitable[ReadResult]]) -> ReadResult:
        """Return what ``read`` returns, shared by the requests that wait for the same ``key``."""
        is_leader = False

        async def lead() -> ReadResult:
            nonlocal is_leader
            is_leader = True
            return await read()

        result = await self._flights.read(key, lead)
        return result if is_leader else replace(result, shared=True)

    def _executor(self, *needed: StoreName) -> tuple[PartialRows, ResilientExecutor]:
        """Return an executor that fails without the stores in ``needed``, and its shard state."""
        rows = PartialRows(self.workers)
        return rows, ResilientExecutor(
            self._stores,
            trace=Trace(),
            seconds=self._seconds,
            needed=NEEDED_ALWAYS | {*needed},
            fill=self._fill,
            rows=rows,
            breakers=self._breakers,
            searches=self._searches,
        )

    async def _read_all(self) -> ReadResult:
        rows, executor = self._executor()
        with gc_relaxed():
            content = products_json(await executor.run(strategies.at_once()))
        return await self._result(content, rows, executor, matching_ids())

    async def _read_page(self, query: Query) -> ReadResult:
        needed: list[StoreName] = ["MongoDB"] if query.condition() else []
        needed += ["Redis"] if query.in_stock else []
        rows, executor = self._executor(*needed)
        index = None
        if query.ids is None:
            index = await self._current_index() if query.condition() else self._latest_index()
        page = await executor.run(find_page(query, index))
        content = products_json(page.products)
        ids = page_ids(query, page.next)
        return await self._result(content, rows, executor, ids, next_id=page.next)

    async def _read_product(self, product_id: int) -> ReadResult:
        rows, executor = self._executor()
        products = await executor.run(strategies.at_once([product_id]))
        if rows.missing:
            raise self.workers.product_error(rows.missing, [product_id])
        content = orjson.dumps(products[0]) if products else b""
        return ReadResult(JSONBody(content), executor.trace, frozenset(executor.missing))

    async def _current_index(self) -> ProductIndex | None:
        """Return the index, or ``None`` if the stores must be searched."""
        if self._index is None:
            return None
        if self._breakers is not None and self._breakers["MongoDB"].state != "closed":
            return None
        return await self._index.current()

    def _latest_index(self) -> ProductIndex | None:
        """Return the index, which may lack changes; ``None`` if there is none."""
        return None if self._index is None else self._index.latest

    async def _read_facets(self, query: Query, find: str | None) -> ReadResult:
        index = await self._current_index()
        if index is not None:
            counts = _facets(index.count_categories(query, find), index.count_values(query, find))
            return ReadResult(JSONBody(orjson.dumps(counts)), Trace())
        return await self._search_facets(query, find)

    async def _search_facets(self, query: Query, find: str | None) -> ReadResult:
        rows, executor = self._executor("MongoDB")
        missing: set[StoreName] = set()

        async def part(strategy: Strategy[T]) -> T | None:
            try:
                return await executor.run(strategy)
            except StoreError as error:
                missing.add(error.store)
                return None

        categories, values = await asyncio.gather(
            part(count_categories(query, find)), part(count_values(query, find))
        )
        content = orjson.dumps(_facets(categories, values))
        if "MongoDB" in missing:
            return ReadResult(
                JSONBody(content), executor.trace, frozenset(missing), lost=rows.missing
            )
        result = await self._result(content, rows, executor, matching_ids(query))
        return replace(result, missing=frozenset(missing))

    async def _result(
        self,
        content: bytes,
        rows: PartialRows,
        executor: ResilientExecutor,
        ids: FindIds,
        *,
        next_id: int | None = None,
    ) -> ReadResult:
        """Return the result. If shards are missing, list which of ``ids`` they have."""
        lost_products = None
        if rows.missing:
            with contextlib.suppress(StoreError):  # MongoDB is unavailable, too
                lost_products = tuple(rows.missing.among(await executor.send(ids)))
        return ReadResult(
            JSONBody(content),
            executor.trace,
            frozenset(executor.missing),
            next_id,
            lost=rows.missing,
            lost_products=lost_products,
        )


def _facets(categories: list[ValueCount] | None, values: FacetCounts | None) -> dict[str, Any]:
    facets: dict[str, Any] = {"category": None, "tags": None, "specifications": None}
    if categories is not None:
        facets["category"] = _counts(categories)
    if values is not None:
        facets["tags"] = _counts(values.tags)
        facets["specifications"] = {
            name: _counts(found) for name, found in values.specifications.items()
        }
    return facets


def _counts(values: list[tuple[Any, int]]) -> list[dict[str, Any]]:
    return [{"value": value, "count": count} for value, count in values]
