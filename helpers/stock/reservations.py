"""Reservations in Redis: units taken out of the stock count until a deadline.

Each step is one Lua script; ``TRANSITIONS`` has all of them. A ``reserved`` reservation expires at
its deadline, and ``Stock.sweep`` returns its units. A ``confirming`` one does not expire: only the
ledger decides whether its units are sold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import redis

from helpers import validation
from helpers.catalog.model import stock_key
from helpers.errors import MissingCountError, ReservationError, SoldOutError, StockError
from helpers.stock.lua_scripts import Argument, run_script, run_script_many
from helpers.stock.redis_keys import (
    CHANGES,
    CONFIRMATIONS,
    DEADLINES,
    REMEMBER_MILLISECONDS,
    confirming_key,
    lease_key,
    reservation_key,
    reserved_key,
)
from helpers.stock.redis_strings import as_string
from helpers.stock.states import State, Transition

#: All transitions of a reservation.
TRANSITIONS: tuple[Transition, ...] = (
    (State.RESERVED, "confirm", State.CONFIRMING),
    (State.RESERVED, "release", State.RELEASED),
    (State.RESERVED, "expire", State.EXPIRED),
    (State.CONFIRMING, "finish", State.CONFIRMED),
    (State.CONFIRMING, "cancel", State.RELEASED),
)

#: Returns the time in milliseconds since 1970.
Clock = Callable[[], int]

_SERVER_TIME = 0
_BATCH = 500


@dataclass(frozen=True)
class Reservation:
    """Units reserved under ``token`` until ``deadline``; ``items`` are (product id, units)."""

    token: str
    items: tuple[tuple[int, int], ...]
    deadline: datetime

    @property
    def product_ids(self) -> list[int]:
        return [product_id for product_id, _ in self.items]


def new_token() -> str:
    """Return a random name for a reservation, a movement or the holder of a lease."""
    return os.urandom(16).hex()


class Reservations:
    """The reservations in one logical Redis database. All methods raise ``redis.RedisError``.

    ``clock`` replaces the Redis server's clock; tests use it to move time.
    """

    def __init__(self, client: redis.Redis, *, clock: Clock | None = None) -> None:
        self._redis = client
        self._clock: Clock = clock or (lambda: _SERVER_TIME)

    def reserve(
        self, items: Mapping[int, int], *, hold_seconds: float, token: str | None = None
    ) -> Reservation:
        """Reserve all ``items`` (product id → units) or none.

        Called again with the same ``token`` and items, it changes nothing and returns the existing
        reservation.

        Raises ``StockError`` for invalid arguments before it sends anything, ``MissingCountError``
        if Redis lacks a stock count, ``SoldOutError``, or ``ReservationError`` if the token's
        reservation was released, has expired or is for other items.
        """
        pairs = validation.items(items)
        hold = round(1000 * validation.seconds(hold_seconds, "The time to hold units"))
        name = new_token() if token is None else validation.token(token)
        text = _format_items(pairs)
        keys = [DEADLINES, CHANGES, reservation_key(name)]
        keys += [stock_key(product_id) for product_id, _ in pairs]
        keys += [reserved_key(product_id) for product_id, _ in pairs]
        arguments: list[Argument] = [name, self._clock(), max(hold, 1), text]
        arguments += [units for _, units in pairs]
        result = run_script(self._redis, "reserve", keys, arguments)
        if isinstance(result, list):
            raise _reserve_error(pairs, result)
        state, deadline, reserved_items = result.split(" ")
        if reserved_items != text:
            way_out = "Give every reservation its own token."
            raise ReservationError(name, "for other items", way_out)
        if state in (State.RELEASED, State.EXPIRED):
            raise ReservationError(name, state, "Reserve again with another token.")
        return Reservation(name, pairs, _datetime(deadline))

    def find(self, token: str) -> Reservation | None:
        """Return the reservation with this token, or ``None`` if Redis does not have it.

        Raises ``StockError`` if ``token`` is not a valid token.
        """
        return self.find_many([validation.token(token)])[0]

    def find_many(self, tokens: Sequence[str]) -> list[Reservation | None]:
        """Return the reservations with these tokens in one round trip, ``None`` if unknown."""
        found: list[Reservation | None] = []
        for token, value in zip(tokens, self._values(tokens), strict=True):
            if value is None:
                found.append(None)
            else:
                _, deadline, items = value.split(" ")
                found.append(Reservation(token, _parse_items(items), _datetime(deadline)))
        return found

    def state(self, token: str) -> State:
        """Return a reservation's state, ``State.UNKNOWN`` if Redis does not have it."""
        (value,) = self._values([validation.token(token)])
        return State.UNKNOWN if value is None else State(value.split(" ")[0])

    def start_confirmation(self, reservation: Reservation) -> State | Literal["overdue"]:
        """Start to confirm, and return the state now, or ``"overdue"`` if the deadline passed."""
        keys = [reservation_key(reservation.token), DEADLINES, CONFIRMATIONS]
        for product_id in reservation.product_ids:
            keys += (reserved_key(product_id), confirming_key(product_id), lease_key(product_id))
        arguments = (reservation.token, self._clock())
        result = run_script(self._redis, "start_confirmation", keys, arguments)
        return "overdue" if result == "overdue" else State(result)

    def finish_confirmation(self, reservation: Reservation) -> State:
        """Mark a reservation whose sale is in the ledger as confirmed; return the state now."""
        keys = [reservation_key(reservation.token), CONFIRMATIONS, CHANGES]
        for product_id in reservation.product_ids:
            keys += (stock_key(product_id), confirming_key(product_id), lease_key(product_id))
        arguments = (reservation.token, _format_items(reservation.items), REMEMBER_MILLISECONDS)
        return State(run_script(self._redis, "finish_confirmation", keys, arguments))

    def release(self, reservation: Reservation) -> State:
        """Return reserved units to the stock counts; return the state now."""
        return self._return_units([reservation], State.RESERVED, State.RELEASED)[0]

    def cancel(self, reservation: Reservation) -> State:
        """Return the units of a sale that the ledger has rejected; return the state now."""
        return self._return_units([reservation], State.CONFIRMING, State.RELEASED)[0]

    def expire(self, reservations: Sequence[Reservation]) -> list[State]:
        """Return the units of reservations past their deadline; return the states now."""
        return self._return_units(reservations, State.RESERVED, State.EXPIRED)

    def overdue(self, most: int = _BATCH) -> list[str]:
        """Return the tokens of up to ``most`` reservations past their deadline, oldest first."""
        now = self._clock() or self._server_time()
        found: Any = self._redis.zrange(DEADLINES, "-inf", now, byscore=True, offset=0, num=most)
        return [as_string(token) for token in found]

    def confirming(self, *, older_than_seconds: float) -> list[str]:
        """Return the tokens of reservations that have been confirming for this long."""
        now = self._clock() or self._server_time()
        latest = now - round(1000 * older_than_seconds)
        found: Any = self._redis.zrange(CONFIRMATIONS, "-inf", latest, byscore=True)
        return [as_string(token) for token in found]

    def repair(self, reservations: Sequence[Reservation]) -> list[int]:
        """Make all entries about reservations match them; return how many of each were wrong."""
        calls = []
        for reservation in reservations:
            keys = [reservation_key(reservation.token), DEADLINES, CONFIRMATIONS]
            for product_id in reservation.product_ids:
                keys += (reserved_key(product_id), confirming_key(product_id))
            arguments: list[Argument] = [reservation.token, self._clock()]
            calls.append((keys, arguments + [units for _, units in reservation.items]))
        return run_script_many(self._redis, "repair", calls)

    def forget(self, tokens: Sequence[str]) -> None:
        """Remove tokens without a reservation from the deadlines and the confirmations."""
        if tokens:
            self._redis.zrem(DEADLINES, *tokens)
            self._redis.zrem(CONFIRMATIONS, *tokens)

    def _return_units(
        self, reservations: Sequence[Reservation], before: State, after: State
    ) -> list[State]:
        calls = []
        for reservation in reservations:
            keys = [reservation_key(reservation.token), DEADLINES, CONFIRMATIONS, CHANGES]
            for product_id in reservation.product_ids:
                keys += (
                    *(stock_key(product_id), reserved_key(product_id)),
                    *(confirming_key(product_id), lease_key(product_id)),
                )
            arguments: list[Argument] = [
                *(reservation.token, self._clock(), before, after, REMEMBER_MILLISECONDS),
            ]
            calls.append((keys, arguments))
        return [State(result) for result in run_script_many(self._redis, "release", calls)]

    def _values(self, tokens: Sequence[str]) -> list[str | None]:
        values: Any = self._redis.mget([reservation_key(token) for token in tokens])
        return [None if value is None else as_string(value) for value in values]

    def _server_time(self) -> int:
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000


def _reserve_error(pairs: Sequence[tuple[int, int]], result: list[Any]) -> StockError:
    """Return the error for units that cannot be reserved, from the script's result."""
    if result[0] == "missing":
        return MissingCountError([pairs[position - 1][0] for position in result[1:]])
    _, overdue, *short = result
    available = {
        pairs[position - 1][0]: max(units, 0)
        for position, units in zip(short[::2], short[1::2], strict=True)
    }
    return SoldOutError(available, overdue)


def _format_items(pairs: Sequence[tuple[int, int]]) -> str:
    return ",".join(f"{product_id}:{units}" for product_id, units in pairs)


def _parse_items(text: str) -> tuple[tuple[int, int], ...]:
    pairs = (pair.split(":") for pair in text.split(","))
    return tuple((int(product_id), int(units)) for product_id, units in pairs)


def _datetime(milliseconds: Any) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
