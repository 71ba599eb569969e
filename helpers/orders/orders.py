"""Place orders: reserve units in Redis, then record the sale and the order in Citus, or neither.

An order goes through the first steps of the saga (see ``saga``): ``reserve`` its units in Redis,
``confirm`` (start to confirm), ``record`` sale and order in Citus, ``finish`` the confirmation in
Redis. ``_record`` writes everything that must exist if and only if the order does: the client's
idempotency key and the row of the outbox. All of these rows are distributed by product and
colocated, so one node commits them.

Each step is idempotent, and a crash between two steps loses nothing. Before ``confirm``, the units
return to stock at their deadline. After it, only the ledger decides: ``reconcile`` finishes the
confirmation if the order was recorded, and returns the units if it was not.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Self

import psycopg
import redis

from helpers import validation
from helpers.catalog.model import Order
from helpers.catalog.product_ids import require_products
from helpers.errors import (
    CourseError,
    KeyReusedError,
    ReservationError,
    SoldOutError,
    StockError,
)
from helpers.orders.order_rows import (
    KeyTakenError,
    agree_on_number,
    find_by_key,
    find_order,
    insert_order,
    number_of,
    token_of,
    write_key,
)
from helpers.orders.outbox import write_outbox
from helpers.stock import Reservation, State, Stock
from helpers.stock.step_hooks import StepHook, run_hook
from helpers.stores import Stores
from helpers.stores.pooled_stores import PooledStores

# Long enough for a slow store: no person decides anything between the steps.
_HOLD_SECONDS = 60

# In these states nothing was sold under a token, and nothing will be.
_GIVEN_UP = (State.RELEASED, State.EXPIRED)

_NEXT_ID = "SELECT nextval('order_ids')"


class Orders:
    """The orders of one shop: units come from ``stock``, orders are written with its ledger.

    Methods raise ``redis.RedisError`` and ``psycopg.Error`` if a store fails. Many threads may use
    one instance if the ledger has a pool of connections. ``hook`` is called around each step of
    ``place``.
    """

    def __init__(self, stock: Stock, hook: StepHook | None = None) -> None:
        self.stock = stock
        self._hook = hook
        self._connections = stock.ledger.connections

    @classmethod
    def of(cls, stores: Stores | PooledStores, hook: StepHook | None = None) -> Self:
        """Return the orders of ``stores``."""
        return cls(Stock.of(stores), hook)

    def new_token(self) -> str:
        """Return a token under which one order can be placed, however often it is tried."""
        return token_of(self._new_number())

    def place(
        self,
        product_id: int,
        quantity: int,
        customer_id: int,
        *,
        token: str | None = None,
        key: str | None = None,
    ) -> Order:
        """Sell ``quantity`` units of a product to a customer. When this returns, it is recorded.

        To be able to retry, give the order a ``key`` or a ``token``; without either, each call
        places another order. ``key`` is an idempotency key: up to 64 letters, digits, hyphens or
        underscores. Every call with the same key returns the same order, concurrently or later, and
        whatever Redis has lost. A key belongs to one order of one product: another product has a
        separate order under the same key, because a lookup does not query all nodes. ``token`` is
        a return value of ``new_token`` and belongs to one order of the shop.

        Raises ``StockError`` for invalid arguments before it sends anything;
        ``UnknownProductError`` if the shop has no such product or no stock of it is recorded;
        ``SoldOutError``; ``KeyReusedError`` if the key or token belongs to another order; and
        ``ReservationError`` if the ledger has too few units, or if the token was given up: nothing
        was sold under that token, and nothing will be. A key can then be used again.

        If a store fails, the order may or may not be recorded: call this again with the same key or
        token to find out. No units are lost. Reserved units are returned at once, or at their
        deadline if Redis is unavailable; ``reconcile`` decides about units being confirmed.
        """
        request = _Request(
            validation.identifier(product_id, "product"),
            validation.quantity(quantity),
            validation.identifier(customer_id, "customer"),
        )
        if key is not None and token is not None:
            raise StockError("An order has a key or a token, not both: give one of them.")
        if key is not None:
            return self._place_under_key(request, validation.token(key))
        number = None if token is None else number_of(token)
        if number is not None:
            existing = self.find(number)
            if existing is not None:
                return _require_same(existing, request)
        self._require_product(request)
        return self._place(self._new_number() if number is None else number, request)

    def find(self, order_id: int) -> Order | None:
        """Return an order by its id, or ``None``.

        Orders are distributed by product, and an id does not tell the product, so the query goes to
        all shards. Raises ``StockError`` for an invalid id before it sends anything.
        """
        number = validation.identifier(order_id, "order")
        with self._connections.connection() as connection:
            return find_order(connection, number)

    def _place_under_key(self, request: _Request, key: str) -> Order:
        """Place an order, or return the one that the key belongs to."""
        given_up = 0
        while True:  # each iteration has a number that was not given up before
            existing = self._find_by_key(request, key)
            if existing is not None:
                return existing
            self._require_product(request)
            number = agree_on_number(
                self.stock.redis,
                (request.product_id, request.quantity, request.customer_id, key),
                self._new_number(),
                given_up=given_up,
            )
            try:
                return self._place(number, request, key)
            except KeyTakenError:
                # Redis had lost the number, and a concurrent order was faster: undo this one.
                with contextlib.suppress(redis.RedisError):
                    self.stock.decide(token_of(number))
                existing = self._find_by_key(request, key)
                if existing is None:  # the key exists without its order: a retry would not help
                    way_out = "Give the order another key."
                    raise ReservationError(key, "for an order that is gone", way_out) from None
                return existing
            except (SoldOutError, ReservationError) as error:
                existing = self._find_by_key(request, key)
                if existing is not None:
                    return existing
                if not isinstance(error, ReservationError) or error.state not in _GIVEN_UP:
                    raise
                given_up = number

    def _place(self, number: int, request: _Request, key: str | None = None) -> Order:
        """Run the steps of the order with this number."""
        with run_hook(self._hook, "reserve"):
            reservation = self.stock.reserve(
                {request.product_id: request.quantity},
                token=token_of(number),
                hold_seconds=_HOLD_SECONDS,
            )
        recorded: list[Order] = []

        def record(connection: psycopg.Connection) -> None:
            recorded.append(_record(connection, number, request, key))

        try:
            self.stock.confirm(reservation, also_write=record, hook=self._hook)
        except ReservationError:
            raise
        except BaseException as error:
            # If only Redis failed after ``record``, the order stands; ``reconcile`` finishes it.
            if not (recorded and isinstance(error, redis.RedisError)):
                self._release(reservation)
                raise
        return recorded[0] if recorded else self._find_recorded(number, request)

    def _require_product(self, request: _Request) -> None:
        """Raise ``UnknownProductError`` if the shop does not have the product."""
        with self._connections.connection() as connection:
            require_products(connection, [request.product_id])

    def _new_number(self) -> int:
        """Return a number that no other order has or will have."""
        with self._connections.connection() as connection:
            row = connection.execute(_NEXT_ID).fetchone()
        assert row is not None
        return int(row[0])

    def _find_by_key(self, request: _Request, key: str) -> Order | None:
        """Return the key's order, or ``None``. Raises ``KeyReusedError`` if it is another one."""
        with self._connections.connection() as connection:
            existing = find_by_key(connection, request.product_id, key)
        return None if existing is None else _require_same(existing, request, key)

    def _release(self, reservation: Reservation) -> None:
        """Release units that are only reserved; a confirming reservation stays as it is."""
        with contextlib.suppress(CourseError, redis.RedisError):
            self.stock.release(reservation)

    def _find_recorded(self, number: int, request: _Request) -> Order:
        """Return the order that another call has recorded under the same number."""
        existing = self.find(number)
        if existing is None:
            way_out = "Place the order with another token."
            raise ReservationError(token_of(number), "sold, but not as an order", way_out)
        return _require_same(existing, request)


@dataclass(frozen=True)
class _Request:
    product_id: int
    quantity: int
    customer_id: int


def _record(
    connection: psycopg.Connection, number: int, request: _Request, key: str | None
) -> Order:
    """Write the order, its key and its outbox row, in the transaction that writes its sale."""
    if key is not None:
        write_key(connection, request.product_id, key, number)
    order = insert_order(
        connection, number, request.product_id, request.customer_id, request.quantity
    )
    write_outbox(connection, request.product_id, number, request.customer_id)
    return order


def _require_same(existing: Order, request: _Request, key: str | None = None) -> Order:
    """Return ``existing``. Raises ``KeyReusedError`` if the request is for another order."""
    if _Request(existing.product_id, existing.quantity, existing.customer_id) == request:
        return existing
    if key is None:
        raise KeyReusedError(token_of(existing.id), "token")
    raise KeyReusedError(key, "key")
