"""Selling from stock: Redis holds the units, the ledger decides."""

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
from helpers.stock.ledger import Also, Connections, Ledger, OneConnection, Outcome
from helpers.stock.reservations import Clock, Reservation, Reservations, new_token
from helpers.stock.step_hooks import StepHook, run_hook
from helpers.stores import Stores
from helpers.stores.pooled_stores import PooledStores

_RESERVE_AGAIN = "Reserve anew, under another name."
_TRIES = 10


class Stock:
    """The stock of one shop.

    ``client`` reaches the counts and the reservations, ``ledger`` the record. Its methods raise
    ``redis.RedisError`` and ``psycopg.Error`` when a store fails; each may then be called again
    with the same arguments and the same token.

    ``hold_seconds`` is how long units are held where a call does not say.
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

        Where they have one connection to Citus, threads take turns at it; where they have a pool,
        each borrows one.
        """
        connections: Connections
        if isinstance(stores, PooledStores):
            connections = stores.postgres
        else:
            connections = OneConnection(stores.postgres)
        return cls(stores.redis, Ledger(connections))

    def read(self, product_ids: Iterable[int]) -> dict[int, int | None]:
        """Return the units available of each product; ``None`` where the ledger does not know it.

        Takes one round trip where Redis has all counts. Raises ``StockError`` for an id that is
        none, before anything is sent.
        """
        return self.counts.read(product_ids)

    def reserve(
        self,
        items: Mapping[int, int],
        *,
        token: str | None = None,
        hold_seconds: float | None = None,
    ) -> Reservation:
        """Hold all ``items`` (product id → units) until a deadline, or none.

        ``token`` names the reservation; calling again with it changes nothing and answers the same.

        Raises ``StockError`` for arguments that are not what they must be, before anything is sent;
        ``UnknownProductError`` for a product that the ledger does not know; ``SoldOutError``;
        ``ReservationError`` where the reservation of this name has ended or is for other items.
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
            "The counts of these products are lost again as soon as they are stored: Redis has too "
            "little memory. Allow it more, or set its maxmemory-policy to noeviction."
        )

    def confirm(
        self,
        reservation: Reservation | str,
        *,
        also: Also | None = None,
        hook: StepHook | None = None,
    ) -> None:
        """Sell what is reserved. When this returns, the sale is in the ledger.

        ``reservation`` may be a token. Confirming again changes nothing.

        ``also`` is called with a connection, in the transaction that writes the sale and by the
        call that writes it alone. What it raises undoes the sale and is raised here; the units then
        stay with the confirmation until it is repeated, or ``reconcile`` decides it.

        ``hook`` is told of the steps ``claim``, ``record`` and ``settle``.

        Raises ``ReservationError`` where the reservation has expired, was released or is not known
        (that may happen meanwhile, where ``reconcile`` takes this for cut short), or where the
        ledger has too few units (Redis had lost some reservations): then nothing was sold.
        """
        found = self._found(reservation)
        with run_hook(hook, "claim"):
            state = self.reservations.claim(found)
        if state == "due":
            (state,) = self.reservations.expire([found])
        if state == "confirmed" or (
            state == "unknown" and self.ledger.outcome(found.token, found.product_ids) == "sold"
        ):
            return
        if state != "confirming":
            raise ReservationError(found.token, state, _RESERVE_AGAIN)
        with run_hook(hook, "record"):
            outcome = self.ledger.record_sale(found.token, found.items, also=also)
        if outcome == "sold":
            with run_hook(hook, "settle"):
                self.reservations.settle(found)
            return
        self.reservations.cancel(found)
        if outcome == "refused":
            self.counts.refresh(found.product_ids)
            why = "released: the ledger has too few units for it"
            raise ReservationError(found.token, why, _RESERVE_AGAIN)
        # Whoever took this confirmation for one that was cut short has undone it.
        raise ReservationError(found.token, "released", _RESERVE_AGAIN)

    def release(self, reservation: Reservation | str) -> None:
        """Give the units back. Releasing again, or what has expired, changes nothing.

        ``reservation`` may be a token. Raises ``ReservationError`` where it is sold, being sold, or
        not known.
        """
        found = self._found(reservation)
        state = self.reservations.release(found)
        if state not in ("released", "expired"):
            raise ReservationError(found.token, state, "Only what is held can be released.")

    def sweep(self) -> list[str]:
        """Give back the units of all reservations past their deadline; return those that ended.

        Any number of sweepers may run at once.
        """
        expired: list[str] = []
        while tokens := self.reservations.overdue():
            found = [one for one in self.reservations.find_many(tokens) if one is not None]
            states: dict[str, str] = dict.fromkeys(tokens, "unknown")
            for one, state in zip(found, self.reservations.expire(found), strict=True):
                states[one.token] = state
            ended = [token for token, state in states.items() if state == "expired"]
            # What is listed and not held was left behind by a server that lost some of its keys.
            strays = [token for token, state in states.items() if state not in ("held", "expired")]
            self.reservations.forget(strays)
            expired += ended
            if not ended and not strays:
                break
        return expired

    def decide(self, token: str) -> Outcome | None:
        """Let the ledger decide a confirmation that was cut short, and return how.

        Where the sale is not in the ledger, it is cancelled there for good. ``None``: Redis does
        not know the reservation any more.
        """
        found = self.reservations.find(token)
        if found is None:
            self.reservations.forget([token])
            return None
        outcome = self.ledger.cancel(token, found.items)
        if outcome == "sold":
            self.reservations.settle(found)
        else:
            self.reservations.cancel(found)
        return outcome

    def restock(self, product_id: int, quantity: int, *, delivery: str | None = None) -> None:
        """Add units that came in. ``delivery`` names them: the same one counts once.

        Raises ``StockError`` for arguments that are not what they must be, before anything is sent.
        """
        self.ledger.deliver(product_id, quantity, delivery or new_token())
        self.counts.invalidate([product_id])

    def set_on_hand(self, product_id: int, units: int) -> int:
        """Make what is on hand of one of the shop's products ``units``; return what can be bought.

        That is fewer where some are reserved. It is 0 where more are reserved than are on hand now:
        then those who confirm last are refused. Setting the same again changes nothing.

        Raises ``StockError`` for arguments that are not what they must be, before anything is sent,
        and ``UnknownProductError`` for a product that the shop does not have.
        """
        self.ledger.recount(product_id, units)
        self.counts.refresh([product_id])
        return self.read([product_id])[product_id] or 0

    def refresh(self, product_ids: Iterable[int]) -> list[Difference]:
        """Make counts what the ledger bears out, and return those that were not."""
        return self.counts.refresh(product_ids)

    def _found(self, reservation: Reservation | str) -> Reservation:
        if isinstance(reservation, Reservation):
            return reservation
        found = self.reservations.find(reservation)
        if found is None:
            raise ReservationError(reservation, "unknown", _RESERVE_AGAIN)
        return found

    def _fill(self, product_ids: list[int]) -> None:
        unknown = [one for one, units in self.counts.fill(product_ids).items() if units is None]
        if unknown:
            raise UnknownProductError(
                "The ledger", unknown, "correct the product's id, or record its stock first."
            )
