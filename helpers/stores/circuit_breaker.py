"""A circuit breaker: a store that fails again and again is left alone for a while.

Whoever asks a store that is silent waits for it as long as he has time; then so does the next one.
The breaker lets the first few wait. The others are told at once, and the store has its peace while
it recovers. ``TRANSITIONS`` is the whole of it.

It is one object for threads and for event loops: it never waits, so what a thread has learned of a
store, a task knows. We looked for a library first. aiobreaker 1.2 is for event loops alone.
pybreaker 1.4 holds a lock as long as a call lasts, so that calls take turns, and awaits for Tornado
alone. purgatory 3.0 keeps threads and event loops apart, each with a state of its own. And these,
like circuitbreaker 2.1, let through whoever comes until the first trial has ended: where hundreds
ask a frozen store, that is hundreds of trials.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import psycopg
import redis
from psycopg_pool import PoolTimeout
from pymongo.errors import (
    ConnectionFailure,
    ExecutionTimeout,
    PyMongoError,
    WaitQueueTimeoutError,
)

from helpers.errors import CircuitOpenError, StoreName
from helpers.settings import Addresses, redact

BreakerState = Literal["closed", "open", "half-open"]
Move = Literal["fail", "try", "succeed", "leave"]
Outcome = Literal["fail", "succeed", "leave"]

#: The first is the one in which each begins.
STATES: tuple[BreakerState, ...] = get_args(BreakerState)

#: From which state, by what, to which state. ``fail`` opens a closed one when it is the last of
#: several in a row. ``leave``: whoever tried was cancelled, and has learned nothing.
TRANSITIONS: tuple[tuple[BreakerState, Move, BreakerState], ...] = (
    ("closed", "fail", "open"),
    ("open", "try", "half-open"),
    ("half-open", "succeed", "closed"),
    ("half-open", "fail", "open"),
    ("half-open", "leave", "open"),
)

_NEXT = {(before, move): after for before, move, after in TRANSITIONS}

# A server that says one of these is going or coming: shut down, crashed, starting; too many of us.
_AWAY = ("57P01", "57P02", "57P03", "53300")


@dataclass(frozen=True)
class BreakerView:
    """How a breaker stands: its state, the failures in a row, the seconds until the next trial."""

    state: BreakerState
    failures: int
    retry_seconds: float


@dataclass(frozen=True)
class GuardedCall:
    """One question that a breaker let through. Call ``end`` once, with how it went."""

    store: StoreName
    end: Callable[[Outcome], None]


class Breaker:
    """The breaker of one store, for any number of threads and tasks.

    After ``failures`` in a row it is open: nobody asks for ``pause_seconds``. Then it is half-open:
    whoever comes first tries, and the others are refused as before. If that goes well it is closed,
    else it is open once more. What was asked before the last move counts for nothing when it ends.

    ``address`` is where the store is, without a password; ``clock`` tells the time in seconds.
    """

    def __init__(
        self,
        store: StoreName,
        address: str,
        *,
        failures: int = 5,
        pause_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._address = address
        self._most = failures
        self._pause = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._state: BreakerState = "closed"
        self._failures = 0
        self._due = 0.0  # when it may be tried, while it is open
        self._era = 0  # how many moves there were

    @property
    def state(self) -> BreakerState:
        """Its state now. One that is open stays so until somebody comes to try."""
        return self._state

    def view(self) -> BreakerView:
        """Return its state, and what belongs to it, at one moment."""
        with self._lock:
            return BreakerView(self._state, self._failures, self._retry_seconds())

    def begin(self) -> GuardedCall:
        """Ask for leave to ask the store, and say with ``GuardedCall.end`` how that went.

        Raises ``CircuitOpenError`` where the store is not to be asked now.
        """
        with self._lock:
            if self._state == "open" and self._clock() >= self._due:
                self._move("try")
            elif self._state != "closed":
                raise CircuitOpenError(
                    self.store,
                    self._address,
                    failures=self._failures,
                    retry_seconds=self._retry_seconds(),
                )
            return GuardedCall(self.store, partial(self._end, self._era))

    def __repr__(self) -> str:
        return f"<Breaker of {self.store}, {self._state}>"

    def _end(self, era: int, outcome: Outcome) -> None:
        with self._lock:
            if era != self._era:
                return
            if outcome == "fail":
                self._failures += 1
                if self._state == "half-open" or self._failures >= self._most:
                    self._due = self._clock() + self._pause
                    self._move("fail")
            elif outcome == "succeed":
                self._failures = 0
                if self._state == "half-open":
                    self._move("succeed")
            elif self._state == "half-open":
                self._move("leave")  # it is still due: the next one tries

    def _move(self, move: Move) -> None:
        self._state = _NEXT[self._state, move]
        self._era += 1

    def _retry_seconds(self) -> float:
        return max(0.0, self._due - self._clock()) if self._state == "open" else 0.0


@dataclass(frozen=True)
class Breakers:
    """One breaker for each store."""

    postgres: Breaker
    mongo: Breaker
    redis: Breaker

    @classmethod
    def of(cls, addresses: Addresses, *, pause_seconds: float = 2.0) -> Breakers:
        """Return closed breakers for the stores at ``addresses``; open, each pauses so long."""
        return cls(
            Breaker("PostgreSQL", redact(addresses.coordinator), pause_seconds=pause_seconds),
            Breaker("MongoDB", redact(addresses.mongo), pause_seconds=pause_seconds),
            Breaker("Redis", redact(addresses.redis), pause_seconds=pause_seconds),
        )

    def __getitem__(self, store: StoreName) -> Breaker:
        """Return the breaker of a store."""
        by_name = {"PostgreSQL": self.postgres, "MongoDB": self.mongo, "Redis": self.redis}
        return by_name[store]


@contextlib.contextmanager
def guarding(*breakers: Breaker) -> Iterator[None]:
    """Ask stores within this, by waiting or by awaiting, if their breakers let it.

    An error that says that a store is away is a failure of that store. A time limit that ran out
    (``TimeoutError``) is one where only one store is asked. Any other error tells nothing of the
    stores, unless it is a store's own: then that one answers.

    Raises ``CircuitOpenError`` where one of them is not to be asked now.
    """
    begun: list[GuardedCall] = []
    try:
        for breaker in breakers:
            begun.append(breaker.begin())  # noqa: PERF401  # what has begun is to be ended
        yield
    except BaseException as error:
        for attempt in begun:
            attempt.end(_outcome(error, attempt.store, alone=len(breakers) == 1))
        raise
    for attempt in begun:
        attempt.end("succeed")


def _outcome(error: BaseException, store: StoreName, *, alone: bool) -> Outcome:
    match error:
        case psycopg.Error():
            named, away = "PostgreSQL", _postgres_is_away(error)
        case redis.RedisError():
            named, away = "Redis", isinstance(error, redis.ConnectionError | redis.TimeoutError)
        case PyMongoError():
            named, away = "MongoDB", isinstance(error, ConnectionFailure | ExecutionTimeout)
        case TimeoutError() if alone:
            return "fail"
        case _:
            return "leave"
    if named != store or _is_our_own(error):
        return "leave"
    return "fail" if away else "succeed"


def _postgres_is_away(error: psycopg.Error) -> bool:
    """Tell whether it is the server that we ask: of a worker that is away, that one tells us."""
    if error.sqlstate is not None:
        return error.sqlstate in _AWAY
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _is_our_own(error: BaseException) -> bool:
    """Tell whether all our connections were in use: that may be for any reason."""
    return isinstance(error, PoolTimeout | WaitQueueTimeoutError) or (
        isinstance(error, redis.ConnectionError) and "No connection available" in str(error)
    )
