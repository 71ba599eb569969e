"""Orders: units are held in Redis, then the sale and the order are recorded in Citus, or neither.

An order passes through the first steps of the saga (see ``saga``): its units are reserved in Redis,
under a name that the order's id gives, and claimed; sale and order are recorded in Citus; the
reservation is settled. ``_record`` is the place for whatever has to be there if and only if the
order is: the client's key for it, and the row of the outbox. All of it is distributed by the
product and colocated, so one node commits it.

Each step, done again, changes nothing; and a crash between them loses nothing. Until the claim, the
units go back at their deadline. From then on only the ledger decides: ``reconcile`` settles the
reservation where the order was recorded, and gives the units back where it was not.
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
from helpers.orders.idempotency_keys import KeyTakenError, agree_on_number, find_by_key, write_key
from helpers.orders.order_rows import ADD, SELECT, number_of, order_of, token_of
from helpers.orders.outbox import write_outbox
from helpers.stock import Reservation, Stock
from helpers.stock.step_hooks import StepHook, run_hook
from helpers.stores import Stores
from helpers.stores.pooled_stores import PooledStores

# The steps follow one another at once, unless a store is slow: nobody thinks it over meanwhile.
_HOLD_SECONDS = 60

# In these states, nothing was sold under a token and nothing will be.
_GIVEN_UP = ("released", "expired")

_NEXT_ID = "SELECT nextval('order_ids')"
_FIND = f"{SELECT} WHERE id = %s"


class Orders:
    """The orders of one shop: their units come from ``stock``, and they stand beside its ledger.

    Its methods raise ``redis.RedisError`` and ``psycopg.Error`` when a store fails. Many threads
    may use it at once where the ledger has a pool of connections. ``hook`` is told of each step of
    placing.
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
        """Return a name under which one order may be placed, however often that is tried."""
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

        So that it may be tried again, the client names the order. ``key`` is a name of its own, up
        to 64 letters, digits, hyphens or underscores: placing again under the same key answers the
        same order, at the same time, at any later time, and whatever Redis has lost. It names one
        order of one product, whose customer is: under the same key, another product has an order of
        its own, since nobody asks all nodes. ``token`` is one that ``new_token`` returned; it names
        one order of the shop. Without either, each call places another order.

        Raises ``StockError`` for arguments that are not what they must be, before anything is sent;
        ``UnknownProductError`` where the shop has no such product or no stock of it is recorded;
        ``SoldOutError``; ``KeyReusedError`` where the key or the token stands for another order;
        and ``ReservationError`` where the ledger has too few units, or where the token was given
        up: under such a token, nothing was sold and nothing will be. A key may be used again then.

        When a store fails, it may be open whether the order was recorded: placing it again under
        its key or its token tells. No unit stays lost. What is held goes back at once, or by its
        deadline where Redis does not answer; what is being confirmed is decided by ``reconcile``.
        """
        wanted = _Wanted(
            validation.identifier(product_id, "product"),
            validation.quantity(quantity),
            validation.identifier(customer_id, "customer"),
        )
        if key is not None and token is not None:
            raise StockError("An order has a key or a token, not both: give one of them.")
        if key is not None:
            return self._place_under_key(wanted, validation.token(key))
        number = None if token is None else number_of(token)
        if number is not None:
            placed = self.find(number)
            if placed is not None:
                return _same(placed, wanted)
        self._require(wanted)
        return self._place(self._new_number() if number is None else number, wanted)

    def find(self, order_id: int) -> Order | None:
        """Return an order by its id; ``None`` where there is none.

        Orders are distributed by their product, and an id does not tell which that is: all shards
        are asked. Raises ``StockError`` for what is no id, before anything is sent.
        """
        wanted = validation.identifier(order_id, "order")
        with self._connections.connection() as connection:
            row = connection.execute(_FIND, [wanted]).fetchone()
        return None if row is None else order_of(row)

    def _place_under_key(self, wanted: _Wanted, key: str) -> Order:
        """Place an order, or return the one that the key names."""
        given_up = 0
        while True:  # each turn has a number that nobody has given up before
            placed = self._under_key(wanted, key)
            if placed is not None:
                return placed
            self._require(wanted)
            request = (wanted.product, wanted.units, wanted.customer, key)
            number = agree_on_number(
                self.stock.redis, request, self._new_number(), given_up=given_up
            )
            try:
                return self._place(number, wanted, key)
            except KeyTakenError:
                # Redis had lost the number, and another one was faster. This one is undone.
                with contextlib.suppress(redis.RedisError):
                    self.stock.decide(token_of(number))
                placed = self._under_key(wanted, key)
                if placed is None:  # there is a key without its order: it is no use to go on
                    way_out = "Give the order another key."
                    raise ReservationError(key, "for an order that is gone", way_out) from None
                return placed
            except (SoldOutError, ReservationError) as error:
                placed = self._under_key(wanted, key)
                if placed is not None:
                    return placed
                if not isinstance(error, ReservationError) or error.state not in _GIVEN_UP:
                    raise
                given_up = number

    def _place(self, number: int, wanted: _Wanted, key: str | None = None) -> Order:
        """Take an order of this number through its steps."""
        with run_hook(self._hook, "reserve"):
            reservation = self.stock.reserve(
                {wanted.product: wanted.units}, token=token_of(number), hold_seconds=_HOLD_SECONDS
            )
        recorded: list[Order] = []

        def record(connection: psycopg.Connection) -> None:
            recorded.append(_record(connection, number, wanted, key))

        try:
            self.stock.confirm(reservation, also=record, hook=self._hook)
        except ReservationError:
            raise
        except BaseException as error:
            # Where only Redis failed after that, the order stands, and ``reconcile`` settles it.
            if not (recorded and isinstance(error, redis.RedisError)):
                self._give_up(reservation)
                raise
        return recorded[0] if recorded else self._recorded(number, wanted)

    def _require(self, wanted: _Wanted) -> None:
        """Raise ``UnknownProductError`` where the shop has no such product."""
        with self._connections.connection() as connection:
            require_products(connection, [wanted.product])

    def _new_number(self) -> int:
        """Return a number that no other order has or will have."""
        with self._connections.connection() as connection:
            row = connection.execute(_NEXT_ID).fetchone()
        assert row is not None
        return int(row[0])

    def _under_key(self, wanted: _Wanted, key: str) -> Order | None:
        """Return the order that the key names. Raises where that is not the one wanted."""
        with self._connections.connection() as connection:
            placed = find_by_key(connection, wanted.product, key)
        return None if placed is None else _same(placed, wanted, key)

    def _give_up(self, reservation: Reservation) -> None:
        """Give units back that are only held. What is being confirmed stays so."""
        with contextlib.suppress(CourseError, redis.RedisError):
            self.stock.release(reservation)

    def _recorded(self, number: int, wanted: _Wanted) -> Order:
        """Return the order that another call has recorded under the same number."""
        placed = self.find(number)
        if placed is None:
            way_out = "Place the order under another token."
            raise ReservationError(token_of(number), "sold, but not as an order", way_out)
        return _same(placed, wanted)


@dataclass(frozen=True)
class _Wanted:
    """What is ordered."""

    product: int
    units: int
    customer: int


def _record(connection: psycopg.Connection, number: int, wanted: _Wanted, key: str | None) -> Order:
    """Write the order, and whatever belongs to it, in the transaction that writes its sale."""
    if key is not None:
        write_key(connection, wanted.product, key, number)
    row = connection.execute(
        ADD, (number, wanted.product, wanted.customer, wanted.units)
    ).fetchone()
    assert row is not None
    write_outbox(connection, wanted.product, number, wanted.customer)
    return order_of(row)


def _same(placed: Order, wanted: _Wanted, key: str | None = None) -> Order:
    """Return ``placed``. Raises ``KeyReusedError`` where another order is wanted."""
    if _Wanted(placed.product_id, placed.quantity, placed.customer_id) == wanted:
        return placed
    if key is None:
        raise KeyReusedError(token_of(placed.id), "token")
    raise KeyReusedError(key, "key")
