"""What was asked of the stores: one span for each round trip, written down as it happens."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from helpers.errors import StoreName

STORES: tuple[StoreName, ...] = ("PostgreSQL", "MongoDB", "Redis")


@dataclass(frozen=True)
class Span:
    """One round trip: what was asked of which store, and when, in seconds since the beginning.

    ``name`` is the kind of request (``SELECT``, ``find``, ``MGET``), never its values. A round
    trip that has no answer yet ends where it starts.
    """

    store: StoreName
    name: str
    start_seconds: float
    end_seconds: float


class Exchange:
    """A round trip while it happens. ``extend()`` says that an answer has come just now."""

    def __init__(self, store: StoreName, name: str, start: float) -> None:
        self.store = store
        self.name = name
        self.start = start
        self.end = start

    def extend(self, moment: float | None = None) -> None:
        """Let the round trip end now, or at ``moment`` on ``perf_counter()``."""
        self.end = time.perf_counter() if moment is None else moment


class Trace:
    """The round trips to the three stores, in the order in which they began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = True
        self._exchanges: list[Exchange] = []
        self._beginning = time.perf_counter()

    @property
    def beginning(self) -> float:
        """When the trace began or was cleared, on ``perf_counter()``."""
        with self._lock:
            return self._beginning

    @property
    def round_trips(self) -> dict[StoreName, int]:
        """How many round trips there were to each store, also to those with none."""
        with self._lock:
            stores = [exchange.store for exchange in self._exchanges]
        return {store: stores.count(store) for store in STORES}

    @property
    def spans(self) -> list[Span]:
        """The round trips, in seconds since the trace began or was cleared."""
        with self._lock:
            exchanges, zero = sorted(self._exchanges, key=lambda one: one.start), self._beginning
        return [Span(one.store, one.name, one.start - zero, one.end - zero) for one in exchanges]

    def clear(self) -> None:
        """Forget all round trips and begin anew."""
        with self._lock:
            self._exchanges.clear()
            self._beginning = time.perf_counter()

    def stop(self) -> None:
        """Write down nothing more."""
        with self._lock:
            self._open = False

    def begin(self, store: StoreName, name: str, start: float | None = None) -> Exchange:
        """Write down a round trip that begins now, or began at ``start`` on ``perf_counter()``."""
        exchange = Exchange(store, name, time.perf_counter() if start is None else start)
        with self._lock:
            if self._open and exchange.start >= self._beginning:
                self._exchanges.append(exchange)
        return exchange
