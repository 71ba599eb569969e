"""Read pages and products as the service and the lessons do: a page, shared pages, a loader."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.catalog.model import ProductJSON
from helpers.joins import DataLoader, Query, SingleFlight, run, run_async, strategies
from helpers.joins.driver_adapters import Fill
from helpers.joins.pages import Page, find_page
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores


def read_page(stores: Stores, query: Query, *, fill: Fill | None = None) -> Page:
    """Return one page, read with blocking drivers."""
    return run(stores, find_page(query), threads=True, fill=fill)


class SharedPages:
    """Pages that concurrent callers of the same query share."""

    def __init__(self, stores: AsyncStores) -> None:
        self._stores = stores
        self._flights: SingleFlight[Query, Page] = SingleFlight()

    async def read(self, query: Query) -> Page:
        """Return one page, never older than this call."""
        return await self._flights.read(query, lambda: run_async(self._stores, find_page(query)))


def product_loader(stores: AsyncStores) -> DataLoader[int, ProductJSON]:
    """Return a loader that joins the products of each batch."""

    async def fetch(ids: Sequence[int]) -> list[ProductJSON | None]:
        products = await run_async(stores, strategies.at_once(ids))
        by_id = {product["id"]: product for product in products}
        return [by_id.get(product_id) for product_id in ids]

    return DataLoader(fetch)
