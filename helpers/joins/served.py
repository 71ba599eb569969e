"""The join as it is served: awaited, and each store asked as seldom as may be."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.catalog.model import ProductJSON
from helpers.joins.async_executor import AsyncFill, run_async
from helpers.joins.data_loader import DataLoader
from helpers.joins.page_query import Page, Query
from helpers.joins.pages import find_page
from helpers.joins.single_flight import SingleFlight
from helpers.joins.strategies import at_once
from helpers.stores.async_stores import AsyncStores


def product_loader(
    stores: AsyncStores, *, fill: AsyncFill | None = None
) -> DataLoader[int, ProductJSON]:
    """Return a loader of products by id, for one request: what is asked for together, is joined.

    ``fill`` is asked for counts that Redis does not have.
    """

    async def fetch(ids: Sequence[int]) -> list[ProductJSON | None]:
        products = await run_async(stores, at_once(ids), fill=fill)
        found = {one["id"]: one for one in products}
        return [found.get(one) for one in ids]

    return DataLoader(fetch)


class Pages:
    """Pages of one shop: those who ask the same at the same time share the answer.

    An answer is never older than its question. ``fill`` is asked for counts that Redis does not
    have.
    """

    def __init__(self, stores: AsyncStores, *, fill: AsyncFill | None = None) -> None:
        self._stores = stores
        self._fill = fill
        self._flights: SingleFlight[Query, Page] = SingleFlight()

    async def read(self, query: Query) -> Page:
        """Return the page that ``query`` asks for; it is shared, so leave it as it is.

        Raises the drivers' errors, and ``MetadataError`` where a product has two documents.
        """
        return await self._flights.read(
            query, lambda: run_async(self._stores, find_page(query), fill=self._fill)
        )
