"""Selling from stock: Redis reserves the units, the ledger decides whether they are sold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

import redis

from helpers import validation
from helpers.errors import (
    MissingCountError,
    ReservationError,
    SoldOutError,
    StockError,
    UnknownProductError,
)
from helpers.stock.counts import Counts, Difference, Freshness
from helpers.stock.ledger import Connections, Ledger, OneConnection, Outcome, SaleWriter
from helpers.stock.reservations import Clock, Reservation, Reservations, new_token
from helpers.stock.states import State
from helpers.stock.step_hooks import StepHook, run_hook
from helpers.stores import Stores
from helpers.stores.pooled_stores import PooledStores

_RESERVE_AGAIN = "Reserve again with another token."
_TRIES = 10


class Stock:
    """The stock of one shop.

    ``client`` connects to the stock counts and reservations, ``ledger`` to the system of record.
    The methods raise ``redis.RedisError`` and ``psycopg.Error`` if a store fails. After that, each
    can be called again with the same arguments and the same token.

    ``hold_seconds`` is how long ``reserve`` holds units by default.
    """

    def __init__(
        self,
        client: redis.Redis,
        ledger: Ledger,
        *,
        freshness: Freshness | None = None,
        hold_seconds: float = 900,
        clock: Clock | None = None,
    ) -> None:
        self.redis = client
        self.ledger = ledger
        self.counts = Counts(client, ledger, freshness or Freshness())
        self.reservations = Reservations(client, clock=clock)
        self._hold_seconds = validation.seconds(hold_seconds, "The time to hold units")

    @classmethod
    def of(cls, stores: Stores | PooledStores) -> Self:
        """Return the stock of ``stores``.

        With ``Stores``, threads take turns using one PostgreSQL connection; with ``PooledStores``,
        each borrows a connection from the pool.
        """
        connections: Connections
        if isinstance(stores, PooledStores):
            connections = stores.postgres
        else:
            connections = OneConnection(stores.postgres)
        return cls(stores.redis, Ledger(connections))

    def read(self, product_ids: Iterable[int]) -> dict[int, int | None]:
        """Return the units available of each product, ``None`` if the ledger does not know it.

        Takes one round trip if Redis has all stock counts. Raises ``StockError`` for an invalid
        id before it sends anything.
        """
        return self.counts.read(product_ids)

    def reserve(
        self,
        items: Mapping[int, int],
        *,
        token: str | None = None,
        hold_seconds: float | None = None,
    ) -> Reservation:
        """Reserve all ``items`` (product id → units) until a deadline, or none.

        ``token`` names the reservation. Called again with the same token and items, it changes
        nothing and returns the same reservation.

        Raises ``StockError`` for invalid arguments before it sends anything,
        ``UnknownProductError`` if the ledger does not know a product, ``SoldOutError``, or
        ``ReservationError`` if the token's reservation has ended or is for other items.
        """
        hold = self._hold_seconds if hold_seconds is None else hold_seconds
        name = new_token() if token is None else token
        swept = False
        for _ in range(_TRIES):
            try:
                return self.reservations.reserve(items, hold_seconds=hold, token=name)
            except MissingCountError as error:
                self._fill(error.product_ids)
            except SoldOutError as error:
                if swept or not error.overdue:
                    raise
                self.sweep()
                swept = True
        raise StockError(
            "Redis loses the stock counts of these products as soon as they are stored: it has too "
            "little memory. Increase its maxmemory, or set its maxmemory-policy to noeviction."
        )

    def confirm(
        self,
        reservation: Reservation | str,
        *,
        also_write: SaleWriter | None = None,
        hook: StepHook | None = None,
    ) -> None:
        """Sell the reserved units. When this returns, the sale is in the ledger.

        ``reservation`` may be a token. Confirming again changes nothing.

        ``also_write`` is called with a connection, in the transaction that writes the sale; it is
        not called if the sale is already written. If it raises, the sale is rolled back and the
        exception propagates. The reservation then stays ``confirming`` until this is called again
        or ``reconcile`` decides it.

        ``hook`` is called around the steps ``confirm``, ``record`` and ``finish``.

        Raises ``ReservationError`` if the reservation has expired, was released or is unknown, or
        if the ledger has too few units because Redis had lost reservations. Then nothing was sold.
        """
        found = self._require(reservation)
        with run_hook(hook, "confirm"):
            state = self.reservations.start_confirmation(found)
        if state == "overdue":
            (state,) = self.reservations.expire([found])
        if state == State.CONFIRMED or (
            state == State.UNKNOWN and self.ledger.outcome(found.token, found.product_ids) == "sold"
        ):
            return
        if state != State.CONFIRMING:
            raise ReservationError(found.token, state, _RESERVE_AGAIN)
        with run_hook(hook, "record"):
            outcome = self.ledger.record_sale(found.token, found.items, also_write=also_write)
        if outcome == "sold":
            with run_hook(hook, "finish"):
                self.reservations.finish_confirmation(found)
            return
        self.reservations.cancel(found)
        if outcome == "rejected":
            self.counts.refresh(found.product_ids)
            why = "released: the ledger has too few units for it"
            raise ReservationError(found.token, why, _RESERVE_AGAIN)
        # ``reconcile`` took this confirmation for an interrupted one and cancelled it.
        raise ReservationError(found.token, State.RELEASED, _RESERVE_AGAIN)

    def release(self, reservation: Reservation | str) -> None:
        """Return reserved units. A reservation that was released or has expired stays as it is.

        ``reservation`` may be a token. Raises ``ReservationError`` if it is confirming, confirmed
        or unknown.
        """
        found = self._require(reservation)
        state = self.reservations.release(found)
        if state not in (State.RELEASED, State.EXPIRED):
            way_out = "Only a reserved reservation can be released."
            raise ReservationError(found.token, state, way_out)

    def sweep(self) -> list[str]:
        """Expire all reservations past their deadline, and return the tokens of these.

        Any number of threads and processes may do this at the same time.
        """
        expired: list[str] = []
        while tokens := self.reservations.overdue():
            found = [
                reservation
                for reservation in self.reservations.find_many(tokens)
                if reservation is not None
            ]
            states = dict.fromkeys(tokens, State.UNKNOWN)
            for reservation, state in zip(found, self.reservations.expire(found), strict=True):
                states[reservation.token] = state
            ended = [token for token, state in states.items() if state == State.EXPIRED]
            # A deadline without a reserved reservation: Redis has lost some of its keys.
            stray = [
                token
                for token, state in states.items()
                if state not in (State.RESERVED, State.EXPIRED)
            ]
            self.reservations.forget(stray)
            expired += ended
            if not ended and not stray:
                break
        return expired

    def decide(self, token: str) -> Outcome | None:
        """Let the ledger decide an interrupted confirmation; return how it decided.

        If the ledger does not have the sale, it is cancelled there for good. Returns ``None`` if
        Redis no longer has the reservation.
        """
        found = self.reservations.find(token)
        if found is None:
            self.reservations.forget([token])
            return None
        outcome = self.ledger.cancel(token, found.items)
        if outcome == "sold":
            self.reservations.finish_confirmation(found)
        else:
            self.reservations.cancel(found)
        return outcome

    def restock(self, product_id: int, quantity: int, *, delivery: str | None = None) -> None:
        """Add delivered units. The same ``delivery`` name is counted once.

        Raises ``StockError`` for invalid arguments before it sends anything.
        """
        self.ledger.deliver(product_id, quantity, delivery or new_token())
        self.counts.invalidate([product_id])

    def set_on_hand(self, product_id: int, units: int) -> int:
        """Set the units on hand of one of the shop's products; return the units available.

        Units available are units on hand minus reserved ones, and 0 if more are reserved than are
        on hand: then the last buyers to confirm are rejected. Setting the same number again changes
        nothing.

        Raises ``StockError`` for invalid arguments before it sends anything, and
        ``UnknownProductError`` if the shop does not have the product.
        """
        self.ledger.recount(product_id, units)
        self.counts.refresh([product_id])
        return self.read([product_id])[product_id] or 0

    def refresh(self, product_ids: Iterable[int]) -> list[Difference]:
        """Rebuild stock counts from the ledger, and return those that were wrong."""
        return self.counts.refresh(product_ids)

    def _require(self, reservation: Reservation | str) -> Reservation:
        if isinstance(reservation, Reservation):
            return reservation
        found = self.reservations.find(reservation)
        if found is None:
            raise ReservationError(reservation, State.UNKNOWN, _RESERVE_AGAIN)
        return found

    def _fill(self, product_ids: list[int]) -> None:
        counts = self.counts.fill(product_ids)
        unknown = [product_id for product_id, units in counts.items() if units is None]
        if unknown:
            raise UnknownProductError(
                "The ledger", unknown, "correct the product's id, or record its stock first."
            )
