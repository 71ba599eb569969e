"""What all routes share: connections to the stores, the product reader, orders, the read model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from helpers.api.options import ServeOptions
from helpers.api.product_reads import ProductReader
from helpers.api.responses import ReadResult
from helpers.api.thread_pool import BoundedThreadPool
from helpers.api.view_service import ViewService, open_view_service
from helpers.errors import CircuitOpenError, StoreError, StoreName
from helpers.joins.executor import SearchLimits
from helpers.orders.order_worker import OrderWorker
from helpers.orders.orders import Orders
from helpers.read_model.index_follower import IndexFollower
from helpers.settings import Addresses
from helpers.shop.schema import create_shop
from helpers.stock import Stock
from helpers.stores.async_stores import AsyncStores, connect_async
from helpers.stores.circuit_breaker import Breakers, breakers_of, guarding
from helpers.stores.connection_limits import Limits, share_deadline
from helpers.stores.pooled_stores import PooledStores, connect_pooled
from helpers.stores.stores import connect_all

T = TypeVar("T")

#: Declares in OpenAPI that a route needs the token; ``AuthenticationAndBodyLimit`` checks it.
TOKEN = Depends(
    HTTPBearer(auto_error=False, scheme_name="token", description="Printed at the start.")
)

_FILL_THREADS = 8

# A search comes first and lookups after it: they fit into the deadline together.
_SEARCH_SHARE = 0.4
# More searches at a time would slow each other down, and the lookups too.
_MAX_SEARCHES = 2

# A background worker that waits for an unresponsive store is not waited for longer: its thread is
# a daemon, so it does not keep the process from ending.
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Service:
    """One shop with open connections, ready to be served."""

    options: ServeOptions
    stores: AsyncStores
    pooled: PooledStores
    products: ProductReader
    stock: Stock
    orders: Orders
    view_service: ViewService | None
    breakers: Breakers | None
    thread_pool: BoundedThreadPool

    @property
    def views(self) -> ViewService | None:
        """The read model, if requests are to be served from it."""
        return self.view_service if self.options.read_model else None

    async def all_products(self) -> ReadResult:
        """Return all products: from the read model if it is up to date, else joined.

        Raises ``StoreError`` if PostgreSQL is unavailable and the read model cannot stand in.
        """
        if self.views is not None:
            result = await self.views.read_if_current()
            if result is not None:
                return result
        try:
            return await self.products.all_products()
        except StoreError as error:
            return await self._stale_result(error)

    async def product(self, product_id: int) -> ReadResult | None:
        """Return one product, or ``None`` if there is no such product.

        Raises ``StoreError`` as ``all_products`` does.
        """
        try:
            return await self.products.product(product_id)
        except StoreError as error:
            return await self._stale_result(error, product_id)

    async def _stale_result(self, error: StoreError, product_id: int | None = None) -> ReadResult:
        """Return what the read model has if PostgreSQL is unavailable, else raise ``error``."""
        result = None if self.views is None else await self.views.read_stale(error, product_id)
        if result is None:
            raise error
        return result

    async def run_blocking(
        self, work: Callable[[], T], *stores: StoreName, product_ids: Collection[int] | None = None
    ) -> T:
        """Run ``work``, which blocks on these stores, in a thread, and return its result.

        ``product_ids`` are the products it needs (``None``: all). If a worker with one of them is
        known to be unavailable, nothing is started; if it turns out to be, the error names it.

        Raises ``StoreError`` if a store fails or its circuit is open, ``BusyError`` if no thread
        is free, and what else ``work`` raises.
        """
        breakers = [] if self.breakers is None else [self.breakers[store] for store in stores]

        def guarded() -> T:
            with self.pooled.explaining(), guarding(*breakers):
                return work()

        workers = self.products.workers
        if "PostgreSQL" in stores:
            await workers.check(product_ids)
        try:
            return await self.thread_pool.run(guarded)
        except CircuitOpenError:
            raise
        except StoreError as error:
            if error.store == "PostgreSQL":
                await workers.probe_and_check(product_ids)
            raise


async def service_of_app(request: Request) -> Service:
    """Return the service that the application's lifespan opened."""
    service: Service = request.app.state.service
    return service


#: The type of a route's parameter that FastAPI fills with the service.
ServiceOfApp = Annotated[Service, Depends(service_of_app)]


@contextlib.asynccontextmanager
async def open_service(addresses: Addresses, options: ServeOptions) -> AsyncIterator[Service]:
    """Connect to the three stores, and create the shop's tables if there are none.

    Raises ``StoreError`` for the first store that does not respond.
    """
    await asyncio.to_thread(_create_shop, addresses)
    async with contextlib.AsyncExitStack() as stack:
        budgets = share_deadline(options.deadline)
        # The executors enforce the budgets. The drivers get the whole deadline, for the lab.
        limits = Limits(wait_seconds=options.deadline, answer_seconds=options.deadline)
        stores = await stack.enter_async_context(await connect_async(addresses, limits=limits))
        limits = replace(limits, answer_seconds=budgets)
        pooled = stack.enter_context(
            await asyncio.to_thread(connect_pooled, addresses, limits=limits)
        )
        stock = Stock.of(pooled)
        breakers = None
        if options.breaker:
            breakers = breakers_of(addresses, pause_seconds=options.breaker_pause)
        thread_pool = stack.enter_context(contextlib.closing(BoundedThreadPool("blocking")))
        # Reads have separate threads, so that they cannot take those of writes.
        fill_pool = stack.enter_context(
            contextlib.closing(BoundedThreadPool("fills", threads=_FILL_THREADS))
        )

        async def fill(product_ids: Sequence[int]) -> Mapping[int, int | None]:
            return await fill_pool.run(partial(stock.counts.fill, product_ids))

        view_service = None
        if options.read_model or options.lab:
            view_service = await stack.enter_async_context(
                open_view_service(
                    addresses,
                    stores,
                    fill=fill,
                    interval_seconds=options.view_interval,
                    budgets=budgets,
                    breakers=breakers,
                )
            )
        if options.relay:
            await stack.enter_async_context(_order_worker(addresses, options))
        search_seconds = _SEARCH_SHARE * options.deadline
        # To wait for the index is worth as much time as to search without it.
        index = await stack.enter_async_context(IndexFollower(stores, seconds=search_seconds))
        searches = SearchLimits(
            search_seconds,
            asyncio.Semaphore(_MAX_SEARCHES),
            breakers_of(addresses, pause_seconds=options.breaker_pause)["MongoDB"]
            if options.breaker
            else None,
        )
        products = ProductReader(
            stores, seconds=budgets, fill=fill, breakers=breakers, index=index, searches=searches
        )
        stack.push_async_callback(products.workers.aclose)
        yield Service(
            options,
            stores,
            pooled,
            products,
            stock,
            Orders(stock),
            view_service,
            breakers,
            thread_pool,
        )


@contextlib.asynccontextmanager
async def _order_worker(addresses: Addresses, options: ServeOptions) -> AsyncIterator[None]:
    """Run the orders' background worker in a thread.

    It does not reconcile the stock: that reads all of it, so ``python -m helpers relay`` does it.
    """
    limits = Limits()  # not those of requests, because no request waits for the outbox
    worker = OrderWorker(
        lambda: connect_all(addresses, limits=limits),
        pause_seconds=options.relay_interval,
        reconcile_seconds=None,
    )
    worker.start()
    try:
        yield
    finally:
        await asyncio.to_thread(worker.stop, wait_seconds=_STOP_SECONDS)


def _create_shop(addresses: Addresses) -> None:
    with connect_all(addresses) as stores, stores.explaining():
        create_shop(stores)
