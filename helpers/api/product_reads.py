"""Products, as the service answers them: joined anew, shared by those who ask at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson

from helpers.api.responses import Answer, Content
from helpers.catalog.model import ProductJSON
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
from helpers.joins.executor import NEEDED_ALWAYS, ResilientExecutor
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.pages import find_page
from helpers.joins.partial_answers import PartialRows, ShardReader, matching_ids, page_ids
from helpers.joins.requests import FindIds, Strategy
from helpers.stores.async_stores import AsyncStores
from helpers.stores.circuit_breaker import Breakers
from helpers.stores.time_budgets import Budgets
from helpers.stores.trace import Trace

T = TypeVar("T")


@dataclass(frozen=True)
class Shared:
    """An answer, and whether another request made it."""

    answer: Answer
    shared: bool


class Catalog:
    """The products of one shop. An answer is never older than its question.

    A question to a store may take ``seconds``; a store whose one of ``breakers`` is open is not
    asked; ``fill`` is asked for counts that Redis does not
    have. All methods raise ``StoreError`` where a store is away without which there is no answer,
    and ``MetadataError`` where a product has two documents.
    """

    def __init__(
        self,
        stores: AsyncStores,
        *,
        seconds: Budgets | float,
        fill: AsyncFill | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        self._stores = stores
        self._seconds = seconds
        self._fill = fill
        self._breakers = breakers
        self._flights: SingleFlight[object, Answer] = SingleFlight()
        self.workers = ShardReader(stores)

    async def everything(self) -> Shared:
        """Return all products, in order of id."""
        return await self._shared("everything", self.everything_alone)

    async def everything_alone(
        self, strategy: Callable[[], Strategy[list[ProductJSON]]] = strategies.at_once
    ) -> Answer:
        """Return the same, asked for this request alone, in the way of ``strategy``."""
        rows, asking = self._asking()
        with gc_relaxed():
            body = products_json(await asking.run(strategy()))
        return await self._answer(Content(body), rows, asking, matching_ids())

    async def page(self, query: Query) -> Shared:
        """Return one page of the products that ``query`` asks for."""
        return await self._shared(query, lambda: self._page(query))

    async def product(self, product_id: int) -> Shared | None:
        """Return one product; ``None`` where there is none."""
        found = await self._shared(product_id, lambda: self._product(product_id))
        return found if found.answer.content.body else None

    async def facets(self, query: Query) -> Shared:
        """Return how many products there are of each category, tag and specification.

        Where a store is away, its part is null.
        """
        return await self._shared(("facets", query), lambda: self._facets(query))

    async def _shared(self, key: object, read: Callable[[], Awaitable[Answer]]) -> Shared:
        alone = False

        async def reading() -> Answer:
            nonlocal alone
            alone = True
            return await read()

        answer = await self._flights.read(key, reading)
        return Shared(answer, not alone)

    def _asking(self, *needed: StoreName) -> tuple[PartialRows, ResilientExecutor]:
        rows = PartialRows(self.workers)
        return rows, ResilientExecutor(
            self._stores,
            trace=Trace(),
            seconds=self._seconds,
            needed=NEEDED_ALWAYS | {*needed},
            fill=self._fill,
            rows=rows,
            breakers=self._breakers,
        )

    async def _answer(
        self,
        content: Content,
        rows: PartialRows,
        asking: ResilientExecutor,
        meant: FindIds,
        *,
        next_id: int | None = None,
    ) -> Answer:
        """Return the answer; where shards are lost, with what they hold of the products meant."""
        named = None
        if rows.missing:
            with contextlib.suppress(StoreError):  # then nobody knows their names
                named = tuple(rows.missing.among(await asking.send(meant)))
        missing = frozenset(asking.missing)
        return Answer(
            content, asking.trace, missing, next_id, lost=rows.missing, lost_products=named
        )

    async def _page(self, query: Query) -> Answer:
        needed: list[StoreName] = ["MongoDB"] if query.condition() else []
        needed += ["Redis"] if query.in_stock else []
        rows, asking = self._asking(*needed)
        page = await asking.run(find_page(query))
        content = Content(products_json(page.products))
        meant = page_ids(query, page.next)
        return await self._answer(content, rows, asking, meant, next_id=page.next)

    async def _product(self, product_id: int) -> Answer:
        rows, asking = self._asking()
        products = await asking.run(strategies.at_once([product_id]))
        if rows.missing:
            raise self.workers.product_error(rows.missing, [product_id])
        body = orjson.dumps(products[0]) if products else b""
        return Answer(Content(body), asking.trace, frozenset(asking.missing))

    async def _facets(self, query: Query) -> Answer:
        rows, asking = self._asking("MongoDB")
        missing: set[StoreName] = set()

        async def part(strategy: Strategy[T]) -> T | None:
            try:
                return await asking.run(strategy)
            except StoreError as error:
                missing.add(error.store)
                return None

        categories, values = await asyncio.gather(
            part(count_categories(query)), part(count_values(query))
        )
        body = orjson.dumps(
            {
                "category": None if categories is None else _counted(categories),
                "tags": None if values is None else _counted(values.tags),
                "specifications": None
                if values is None
                else {name: _counted(found) for name, found in values.specifications.items()},
            }
        )
        if "MongoDB" not in missing:
            answer = await self._answer(Content(body), rows, asking, matching_ids(query))
            return replace(answer, missing=frozenset(missing))
        return Answer(Content(body), asking.trace, frozenset(missing), lost=rows.missing)


def _counted(values: list[tuple[Any, int]]) -> list[dict[str, Any]]:
    return [{"value": value, "count": count} for value, count in values]
