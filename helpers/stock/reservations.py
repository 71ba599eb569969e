"""Reservations in Redis: units taken out of the count until a deadline; each step one script.

``TRANSITIONS`` is the whole of it. ``held`` units go back by themselves when the deadline has
passed and somebody sweeps. ``confirming`` is the state between the decision to sell and the
ledger's answer: no deadline ends it, only the ledger does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

import redis

from helpers import validation
from helpers.catalog.model import stock_key
from helpers.errors import MissingCountError, ReservationError, SoldOutError, StockError
from helpers.stock.lua_scripts import Argument, Script
from helpers.stock.redis_keys import (
    CHANGES,
    CLAIMS,
    DEADLINES,
    REMEMBER_MILLISECONDS,
    claimed_key,
    held_key,
    lease_key,
    reservation_key,
)
from helpers.stock.redis_strings import as_string

State = Literal["held", "confirming", "confirmed", "released", "expired", "unknown"]

#: From which state, by what, to which state.
TRANSITIONS: tuple[tuple[State, str, State], ...] = (
    ("held", "claim", "confirming"),
    ("held", "release", "released"),
    ("held", "expire", "expired"),
    ("confirming", "settle", "confirmed"),
    ("confirming", "cancel", "released"),
)

#: A clock: the time in milliseconds since 1970.
Clock = Callable[[], int]

_RESERVE, _CLAIM, _SETTLE = map(Script, ("reserve", "claim", "settle"))
_RELEASE, _MEND = map(Script, ("release", "mend"))
_SERVER_TIME = 0
_BATCH = 500


@dataclass(frozen=True)
class Reservation:
    """Units held under the name ``token`` until ``deadline``; ``items`` are (product id, units)."""

    token: str
    items: tuple[tuple[int, int], ...]
    deadline: datetime

    @property
    def product_ids(self) -> list[int]:
        return [product_id for product_id, _ in self.items]


def new_token() -> str:
    """Return a name that no other reservation or movement has."""
    return os.urandom(16).hex()


class Reservations:
    """The reservations in one logical database. All methods raise ``redis.RedisError``.

    ``clock`` tells the time in place of the server's own clock.
    """

    def __init__(self, client: redis.Redis, *, clock: Clock | None = None) -> None:
        self._redis = client
        self._clock: Clock = clock or (lambda: _SERVER_TIME)

    def reserve(
        self, items: Mapping[int, int], *, hold_seconds: float, token: str | None = None
    ) -> Reservation:
        """Hold all ``items`` (product id → units) or none.

        With the ``token`` of an earlier call for the same items, answers what that one held.

        Raises ``StockError`` for bad arguments before anything is sent, ``MissingCountError``,
        ``SoldOutError``, or ``ReservationError`` where the token's reservation has ended or is for
        other items.
        """
        pairs = validation.items(items)
        hold = round(1000 * validation.seconds(hold_seconds, "The time to hold units"))
        name = new_token() if token is None else validation.token(token)
        text = _text(pairs)
        keys = [DEADLINES, CHANGES, reservation_key(name)]
        keys += [stock_key(one) for one, _ in pairs]
        keys += [held_key(one) for one, _ in pairs]
        arguments: list[Argument] = [name, self._clock(), max(hold, 1), text]
        arguments += [units for _, units in pairs]
        answer = _RESERVE.run(self._redis, keys, arguments)
        if isinstance(answer, list):
            raise _refusal(pairs, answer)
        state, deadline, there = answer.split(" ")
        if there != text:
            way_out = "Give every reservation a name of its own."
            raise ReservationError(name, "for other items", way_out)
        if state in ("released", "expired"):
            raise ReservationError(name, state, "Reserve again under another name.")
        return Reservation(name, pairs, _moment(deadline))

    def find(self, token: str) -> Reservation | None:
        """Return the reservation of that name while Redis remembers it.

        Raises ``StockError`` where ``token`` cannot be a name.
        """
        return self.find_many([validation.token(token)])[0]

    def find_many(self, tokens: Sequence[str]) -> list[Reservation | None]:
        """Return the reservations of those names in one round trip, ``None`` for an unknown one."""
        found: list[Reservation | None] = []
        for token, text in zip(tokens, self._texts(tokens), strict=True):
            if text is None:
                found.append(None)
            else:
                _, deadline, items = text.split(" ")
                found.append(Reservation(token, _items(items), _moment(deadline)))
        return found

    def state(self, token: str) -> State:
        """Return a reservation's state; ``"unknown"`` where Redis does not remember it."""
        (text,) = self._texts([validation.token(token)])
        return cast("State", "unknown" if text is None else text.split(" ")[0])

    def claim(self, reservation: Reservation) -> State | Literal["due"]:
        """Begin to confirm, and return the state now; ``"due"`` where the deadline has passed."""
        keys = [reservation_key(reservation.token), DEADLINES, CLAIMS]
        for one in reservation.product_ids:
            keys += (held_key(one), claimed_key(one), lease_key(one))
        state = _CLAIM.run(self._redis, keys, [reservation.token, self._clock()])
        return cast("State", state)

    def settle(self, reservation: Reservation) -> State:
        """End a reservation whose sale is in the ledger, and return the state now."""
        keys = [reservation_key(reservation.token), CLAIMS, CHANGES]
        for one in reservation.product_ids:
            keys += (stock_key(one), claimed_key(one), lease_key(one))
        arguments = (reservation.token, _text(reservation.items), REMEMBER_MILLISECONDS)
        return cast("State", _SETTLE.run(self._redis, keys, arguments))

    def release(self, reservation: Reservation) -> State:
        """Give held units back, and return the state now: ``"released"`` if all went well."""
        return self._give_back([reservation], "held", "released")[0]

    def cancel(self, reservation: Reservation) -> State:
        """Give units back whose sale the ledger has cancelled, and return the state now."""
        return self._give_back([reservation], "confirming", "released")[0]

    def expire(self, reservations: Sequence[Reservation]) -> list[State]:
        """Give the units of those back whose deadline has passed, and return their states now."""
        return self._give_back(reservations, "held", "expired")

    def overdue(self, most: int = _BATCH) -> list[str]:
        """Return the tokens of up to ``most`` reservations past their deadline, oldest first."""
        now = self._clock() or self._server_time()
        found: Any = self._redis.zrange(
            DEADLINES,
            "-inf",
            now,
            byscore=True,
            offset=0,
            num=most,
        )
        return [as_string(token) for token in found]

    def claimed(self, *, older_than_seconds: float) -> list[str]:
        """Return the tokens of those whose confirmation began that long ago and has not ended."""
        now = self._clock() or self._server_time()
        latest = now - round(1000 * older_than_seconds)
        found: Any = self._redis.zrange(CLAIMS, "-inf", latest, byscore=True)
        return [as_string(token) for token in found]

    def mend(self, reservations: Sequence[Reservation]) -> list[int]:
        """Make what is written elsewhere of reservations follow from them; count what was wrong."""
        calls = []
        for one in reservations:
            keys = [reservation_key(one.token), DEADLINES, CLAIMS]
            for product in one.product_ids:
                keys += (held_key(product), claimed_key(product))
            arguments: list[Argument] = [one.token, self._clock()]
            calls.append((keys, arguments + [units for _, units in one.items]))
        return _MEND.run_many(self._redis, calls)

    def forget(self, tokens: Sequence[str]) -> None:
        """Take names off the lists whose reservation is gone."""
        if tokens:
            self._redis.zrem(DEADLINES, *tokens)
            self._redis.zrem(CLAIMS, *tokens)

    def _give_back(
        self, reservations: Sequence[Reservation], before: State, after: State
    ) -> list[State]:
        calls = []
        for one in reservations:
            keys = [reservation_key(one.token), DEADLINES, CLAIMS, CHANGES]
            for product in one.product_ids:
                keys += (
                    *(stock_key(product), held_key(product)),
                    *(claimed_key(product), lease_key(product)),
                )
            arguments: list[Argument] = [
                *(one.token, self._clock(), before, after, REMEMBER_MILLISECONDS),
            ]
            calls.append((keys, arguments))
        return _RELEASE.run_many(self._redis, calls)

    def _texts(self, tokens: Sequence[str]) -> list[str | None]:
        answer: Any = self._redis.mget([reservation_key(token) for token in tokens])
        return [None if text is None else as_string(text) for text in answer]

    def _server_time(self) -> int:
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000


def _refusal(pairs: Sequence[tuple[int, int]], answer: list[Any]) -> StockError:
    """Return the error for units that cannot be reserved, from the script's answer."""
    if answer[0] == "missing":
        return MissingCountError([pairs[position - 1][0] for position in answer[1:]])
    _, overdue, *short = answer
    available = {
        pairs[position - 1][0]: max(units, 0)
        for position, units in zip(short[::2], short[1::2], strict=True)
    }
    return SoldOutError(available, overdue)


def _text(pairs: Sequence[tuple[int, int]]) -> str:
    return ",".join(f"{product_id}:{units}" for product_id, units in pairs)


def _items(text: str) -> tuple[tuple[int, int], ...]:
    pairs = (pair.split(":") for pair in text.split(","))
    return tuple((int(product_id), int(units)) for product_id, units in pairs)


def _moment(milliseconds: Any) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
