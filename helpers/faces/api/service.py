"""What the API stands on: the stores' pools, the catalogue, the orders, the read model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from anyio import from_thread

from helpers.errors import StoreError
from helpers.faces.api.catalog import Catalog
from helpers.faces.api.read_side import ReadSide, open_read_side
from helpers.settings import Addresses
from helpers.shop.orders import Orders
from helpers.shop.schema import create_shop
from helpers.shop.stock import Stock
from helpers.stores.async_stores import AsyncStores, Limits, connect_async
from helpers.stores.pooled import PooledStores, connect_pooled
from helpers.stores.stores import connect_all


@dataclass(frozen=True)
class Options:
    """How to serve.

    ``token`` is what writes need. ``store_seconds`` is how long a store may take to answer one
    question. With ``read_model``, the whole list comes from views that are kept every
    ``keep_seconds``. With ``lab``, each way to the list has an address of its own. A
    client has ``patience`` seconds to send the head of a request, and as many for the body.
    """

    token: str = field(repr=False)
    store_seconds: float = 5.0
    read_model: bool = False
    keep_seconds: float = 0.1
    lab: bool = False
    patience: float = 10.0


@dataclass(frozen=True)
class Service:
    """One shop, ready to be served."""

    options: Options
    stores: AsyncStores
    pooled: PooledStores
    catalog: Catalog
    stock: Stock
    orders: Orders
    read_side: ReadSide | None

    @contextlib.contextmanager
    def explaining(self, product_ids: Sequence[int] | None = None) -> Iterator[None]:
        """Turn errors of the drivers into a ``StoreError``, for a thread that a route runs in.

        ``product_ids`` are those that it needs, ``None`` all: where a worker that has one of them
        is known to be away, nothing is begun; where one turns out to be, the error names it.
        """
        workers = self.catalog.workers
        from_thread.run(workers.check, product_ids)
        try:
            with self.pooled.explaining():
                yield
        except StoreError as error:
            if error.store == "PostgreSQL":
                from_thread.run(workers.explain, product_ids)
            raise


@contextlib.asynccontextmanager
async def open_service(addresses: Addresses, options: Options) -> AsyncIterator[Service]:
    """Connect to the three stores, and make the shop's tables where there are none.

    Raises ``StoreError`` for the first store that does not answer.
    """
    await asyncio.to_thread(_prepare, addresses)
    limits = Limits(answer_seconds=options.store_seconds)
    async with contextlib.AsyncExitStack() as opened:
        stores = await opened.enter_async_context(await connect_async(addresses, limits=limits))
        pooled = opened.enter_context(
            await asyncio.to_thread(connect_pooled, addresses, limits=limits)
        )
        stock = Stock.of(pooled)

        async def fill(product_ids: Sequence[int]) -> Mapping[int, int | None]:
            return await asyncio.to_thread(stock.counts.fill, product_ids)

        read_side = None
        if options.read_model or options.lab:
            read_side = await opened.enter_async_context(
                open_read_side(addresses, stores, fill=fill, keep_seconds=options.keep_seconds)
            )
        catalog = Catalog(stores, seconds=options.store_seconds, fill=fill)
        opened.push_async_callback(catalog.workers.aclose)
        yield Service(
            options,
            stores,
            pooled,
            catalog,
            stock,
            Orders(stock),
            read_side,
        )


def _prepare(addresses: Addresses) -> None:
    with connect_all(addresses) as stores, stores.explaining():
        create_shop(stores)
