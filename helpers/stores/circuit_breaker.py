"""A circuit breaker: stop sending requests for a while to a store that fails repeatedly.

Each request to an unresponsive store waits for its full time limit. With a circuit breaker, only
the first few do; further requests fail at once, and the store gets no load while it recovers.
``TRANSITIONS`` is the complete state machine.

One object serves both threads and event loops: it never blocks, so tasks benefit from what threads
have found out. We looked for a library first. aiobreaker 1.2 is for event loops only. pybreaker 1.4
holds a lock during a call, so that calls are serialized, and its async support needs Tornado.
purgatory 3.0 has separate states for threads and event loops. And these, like circuitbreaker 2.1,
let all requests through until the first trial has ended: with hundreds of requests to a frozen
store, that is hundreds of trials.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

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
from helpers.stores.trace import STORES

BreakerState = Literal["closed", "open", "half-open"]
Move = Literal["fail", "try", "succeed", "leave"]
Outcome = Literal["fail", "succeed", "leave"]

#: Ends a request that a breaker let through. Call it once, with the outcome.
End = Callable[[Outcome], None]

#: State, event, next state. ``fail`` opens a closed circuit only if it is the last of several in a
#: row. ``leave``: the trial was cancelled, or its outcome says nothing about the store.
TRANSITIONS: tuple[tuple[BreakerState, Move, BreakerState], ...] = (
    ("closed", "fail", "open"),
    ("open", "try", "half-open"),
    ("half-open", "succeed", "closed"),
    ("half-open", "fail", "open"),
    ("half-open", "leave", "open"),
)

_NEXT = {(before, move): after for before, move, after in TRANSITIONS}

# SQLSTATEs of a server that shuts down, has crashed, is starting or has too many connections.
_UNAVAILABLE = ("57P01", "57P02", "57P03", "53300")


@dataclass(frozen=True)
class BreakerView:
    """A breaker's state, its consecutive failures, and the seconds until the next trial."""

    state: BreakerState
    failures: int
    retry_seconds: float


class Breaker:
    """The circuit breaker of one store, for any number of threads and tasks.

    After ``failures`` in a row the circuit is open: no request is sent for ``pause_seconds``. Then
    it is half-open: the first request is a trial, and all others still fail. If the trial succeeds
    the circuit is closed, else it is open again. The outcome of a request that started before the
    last change of state is ignored.

    ``address`` is the store's address without its password; ``clock`` returns a time in seconds.
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
        self._max_failures = failures
        self._pause = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._state: BreakerState = "closed"
        self._failures = 0
        self._due = 0.0  # when the next trial is allowed, while the circuit is open
        self._generation = 0  # the number of changes of state

    @property
    def state(self) -> BreakerState:
        """The current state. An open circuit stays open until a request becomes its trial."""
        return self._state

    def view(self) -> BreakerView:
        """Return a consistent snapshot of the state and its figures."""
        with self._lock:
            return BreakerView(self._state, self._failures, self._retry_seconds())

    def begin(self) -> End:
        """Start a request to the store; report its outcome with the function returned.

        Raises ``CircuitOpenError`` if no request may be sent now.
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
            return partial(self._end, self._generation)

    def __repr__(self) -> str:
        return f"<Breaker of {self.store}, {self._state}>"

    def _end(self, generation: int, outcome: Outcome) -> None:
        with self._lock:
            if generation != self._generation:
                return
            if outcome == "fail":
                self._failures += 1
                if self._state == "half-open" or self._failures >= self._max_failures:
                    self._due = self._clock() + self._pause
                    self._move("fail")
            elif outcome == "succeed":
                self._failures = 0
                if self._state == "half-open":
                    self._move("succeed")
            elif self._state == "half-open":
                self._move("leave")  # a trial is still due: the next request is one

    def _move(self, move: Move) -> None:
        self._state = _NEXT[self._state, move]
        self._generation += 1

    def _retry_seconds(self) -> float:
        return max(0.0, self._due - self._clock()) if self._state == "open" else 0.0


#: The breaker of each store.
Breakers = Mapping[StoreName, Breaker]


def breakers_of(addresses: Addresses, *, pause_seconds: float = 2.0) -> Breakers:
    """Return closed breakers for the stores at ``addresses``, with this pause when open."""
    return {
        store: Breaker(store, redact(addresses[store]), pause_seconds=pause_seconds)
        for store in STORES
    }


@contextlib.contextmanager
def guarding(*breakers: Breaker) -> Iterator[None]:
    """Run requests to stores through their circuit breakers, blocking or async.

    An error which means that a store is unavailable counts as its failure; so does a
    ``TimeoutError``, if there is only one store. Another error of a store counts as a success: the
    store responds. All other errors say nothing about the stores.

    Raises ``CircuitOpenError`` if no request may be sent to one of them now.
    """
    begun: list[tuple[StoreName, End]] = []
    try:
        for breaker in breakers:
            begun.append((breaker.store, breaker.begin()))  # noqa: PERF401  # those that have begun must be ended
        yield
    except BaseException as error:
        for store, end in begun:
            end(_outcome(error, store, alone=len(breakers) == 1))
        raise
    for _, end in begun:
        end("succeed")


def _outcome(error: BaseException, store: StoreName, *, alone: bool) -> Outcome:
    match error:
        case psycopg.Error():
            named, is_unavailable = "PostgreSQL", _postgres_is_unavailable(error)
        case redis.RedisError():
            named, is_unavailable = (
                "Redis",
                isinstance(error, redis.ConnectionError | redis.TimeoutError),
            )
        case PyMongoError():
            named, is_unavailable = (
                "MongoDB",
                isinstance(error, ConnectionFailure | ExecutionTimeout),
            )
        case TimeoutError() if alone:
            return "fail"
        case _:
            return "leave"
    if named != store or _pool_is_exhausted(error):
        return "leave"
    return "fail" if is_unavailable else "succeed"


def _postgres_is_unavailable(error: psycopg.Error) -> bool:
    """Tell whether the server itself is unavailable, not a worker that it reports."""
    if error.sqlstate is not None:
        return error.sqlstate in _UNAVAILABLE
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _pool_is_exhausted(error: BaseException) -> bool:
    """Tell whether all our connections were in use, which says nothing about the store."""
    return isinstance(error, PoolTimeout | WaitQueueTimeoutError) or (
        isinstance(error, redis.ConnectionError) and "No connection available" in str(error)
    )
