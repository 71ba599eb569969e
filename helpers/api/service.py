"""What the API stands on: the stores' pools, the catalogue, the orders, the read model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from helpers.api.product_reads import Catalog, Shared
from helpers.api.thread_pool import BoundedThreadPool
from helpers.api.view_service import ViewService, open_view_service
from helpers.errors import CircuitOpenError, StoreError, StoreName
from helpers.orders.order_worker import OrderWorker
from helpers.orders.orders import Orders
from helpers.settings import Addresses
from helpers.shop.schema import create_shop
from helpers.stock import Stock
from helpers.stores.async_stores import AsyncStores, Limits, connect_async
from helpers.stores.circuit_breaker import Breakers, guarding
from helpers.stores.pooled_stores import PooledStores, connect_pooled
from helpers.stores.stores import connect_all
from helpers.stores.time_budgets import Budgets

T = TypeVar("T")

_FILLS = 8


@dataclass(frozen=True)
class Options:
    """How to serve.

    ``token`` is what writes need. No answer takes longer than ``deadline`` seconds; each store gets
    its share of them. Without ``breaker``, a store is asked again however often it has failed; with
    it, a store that fails again and again is not asked for ``pause_seconds``. With
    ``read_model``, the whole list comes from views that are kept every ``keep_seconds``. With
    ``lab``, each way to the list has an address of its own. A client has ``patience`` seconds to
    send the head of a request, and as many for the body. With ``relay``, the orders' outbox is
    carried to MongoDB every ``relay_seconds``.
    """

    token: str = field(repr=False)
    deadline: float = 5.0
    breaker: bool = True
    pause_seconds: float = 2.0
    read_model: bool = False
    keep_seconds: float = 0.1
    lab: bool = False
    patience: float = 10.0
    relay: bool = True
    relay_seconds: float = 0.5

    @property
    def budgets(self) -> Budgets:
        """How long each store may take to answer one question."""
        return Budgets.within(self.deadline)


@dataclass(frozen=True)
class Service:
    """One shop, ready to be served."""

    options: Options
    stores: AsyncStores
    pooled: PooledStores
    catalog: Catalog
    stock: Stock
    orders: Orders
    view_service: ViewService | None
    breakers: Breakers | None
    errands: BoundedThreadPool

    @property
    def views(self) -> ViewService | None:
        """The read model, where customers are to be answered from it."""
        return self.view_service if self.options.read_model else None

    async def everything(self) -> Shared:
        """Return all products: from the views where these are up to date, else joined.

        Raises ``StoreError`` where PostgreSQL is away and no views can answer in its place.
        """
        views = self.views
        if views is not None:
            answer = await views.up_to_date()
            if answer is not None:
                return Shared(answer, shared=False)
        try:
            return await self.catalog.everything()
        except StoreError as error:
            return await self._instead(error)

    async def product(self, product_id: int) -> Shared | None:
        """Return one product, ``None`` where there is none. Raises as ``everything`` does."""
        try:
            return await self.catalog.product(product_id)
        except StoreError as error:
            return await self._instead(error, product_id)

    async def _instead(self, error: StoreError, product_id: int | None = None) -> Shared:
        """Return what the views have, where PostgreSQL is away; else raise ``error``."""
        stale = None if self.views is None else await self.views.instead(error, product_id)
        if stale is None:
            raise error
        return Shared(stale, shared=False)

    async def do(
        self, work: Callable[[], T], *stores: StoreName, product_ids: Collection[int] | None = None
    ) -> T:
        """Do ``work``, which asks these stores and blocks, in a thread; return what it returns.

        ``product_ids`` are those that it needs, ``None`` all: where a worker that has one of them
        is known to be away, nothing is begun; where one turns out to be, the error names it.

        Raises ``StoreError`` where one of them fails or is not asked for the moment, ``BusyError``
        where no thread is free, and what else ``work`` raises.
        """
        breakers = [] if self.breakers is None else [self.breakers[one] for one in stores]

        def guarded() -> T:
            with self.pooled.explaining(), guarding(*breakers):
                return work()

        workers = self.catalog.workers
        if "PostgreSQL" in stores:
            await workers.check(product_ids)
        try:
            return await self.errands.run(guarded)
        except CircuitOpenError:
            raise
        except StoreError as error:
            if error.store == "PostgreSQL":
                await workers.probe_and_check(product_ids)
            raise


@contextlib.asynccontextmanager
async def open_service(addresses: Addresses, options: Options) -> AsyncIterator[Service]:
    """Connect to the three stores, and make the shop's tables where there are none.

    Raises ``StoreError`` for the first store that does not answer.
    """
    await asyncio.to_thread(_prepare, addresses)
    async with contextlib.AsyncExitStack() as opened:
        # Who awaits keeps the budgets himself, and but for the lab: the drivers have more time.
        limits = Limits(wait_seconds=options.deadline, answer_seconds=options.deadline)
        stores = await opened.enter_async_context(await connect_async(addresses, limits=limits))
        limits = replace(limits, budgets=options.budgets)
        pooled = opened.enter_context(
            await asyncio.to_thread(connect_pooled, addresses, limits=limits)
        )
        stock = Stock.of(pooled)
        breakers = None
        if options.breaker:
            breakers = Breakers.of(addresses, pause_seconds=options.pause_seconds)
        errands = opened.enter_context(contextlib.closing(BoundedThreadPool("errands")))
        # Of their own: a reader's must not take the threads of those who write.
        fills = opened.enter_context(contextlib.closing(BoundedThreadPool("fills", threads=_FILLS)))

        async def fill(product_ids: Sequence[int]) -> Mapping[int, int | None]:
            return await fills.run(partial(stock.counts.fill, product_ids))

        view_service = None
        if options.read_model or options.lab:
            view_service = await opened.enter_async_context(
                open_view_service(
                    addresses,
                    stores,
                    fill=fill,
                    keep_seconds=options.keep_seconds,
                    budgets=options.budgets,
                    breakers=breakers,
                )
            )
        if options.relay:
            await opened.enter_async_context(_keeping(addresses, options))
        catalog = Catalog(stores, seconds=options.budgets, fill=fill, breakers=breakers)
        opened.push_async_callback(catalog.workers.aclose)
        yield Service(
            options,
            stores,
            pooled,
            catalog,
            stock,
            Orders(stock),
            view_service,
            breakers,
            errands,
        )


@contextlib.asynccontextmanager
async def _keeping(addresses: Addresses, options: Options) -> AsyncIterator[None]:
    """Keep the orders in a thread. Looking at all of the stock is left to others: it is large."""
    limits = Limits()  # not the options': nobody waits for the relay
    keeper = OrderWorker(
        lambda: connect_all(addresses, limits=limits),
        pause_seconds=options.relay_seconds,
        reconcile_seconds=None,
    )
    keeper.start()
    try:
        yield
    finally:
        await asyncio.to_thread(keeper.stop, wait_seconds=_STOP_SECONDS)


# A keeper that waits for a silent store is left behind: it keeps no process from ending.
_STOP_SECONDS = 5.0


def _prepare(addresses: Addresses) -> None:
    with connect_all(addresses) as stores, stores.explaining():
        create_shop(stores)
