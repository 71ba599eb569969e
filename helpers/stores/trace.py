"""Record round trips to the stores, one span each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from helpers.errors import StoreName

STORES: tuple[StoreName, ...] = ("PostgreSQL", "MongoDB", "Redis")


@dataclass(frozen=True)
class Span:
    """One round trip: its store, its kind, and when it took place, in seconds since the start.

    ``name`` is the kind of request (``SELECT``, ``find``, ``MGET``), without its values. A round
    trip without a reply yet ends where it starts.
    """

    store: StoreName
    name: str
    start_seconds: float
    end_seconds: float


@dataclass
class RoundTrip:
    """A round trip in progress. Call ``extend()`` whenever a part of the reply has arrived."""

    store: StoreName
    name: str
    start: float
    end: float

    def extend(self, time_now: float | None = None) -> None:
        """Set the end of the round trip to now, or to a value of ``perf_counter()``."""
        self.end = time.perf_counter() if time_now is None else time_now


class Trace:
    """The round trips to the three stores, in the order in which they started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = True
        self._round_trips: list[RoundTrip] = []
        self._beginning = time.perf_counter()

    @property
    def beginning(self) -> float:
        """When the trace was created or cleared, as a value of ``perf_counter()``."""
        with self._lock:
            return self._beginning

    @property
    def round_trips(self) -> dict[StoreName, int]:
        """The number of round trips to each store, including zeros."""
        with self._lock:
            stores = [round_trip.store for round_trip in self._round_trips]
        return {store: stores.count(store) for store in STORES}

    @property
    def spans(self) -> list[Span]:
        """The round trips, in seconds since the trace was created or cleared."""
        with self._lock:
            found = sorted(self._round_trips, key=lambda round_trip: round_trip.start)
            zero = self._beginning
        return [Span(each.store, each.name, each.start - zero, each.end - zero) for each in found]

    def clear(self) -> None:
        """Remove all round trips, and start again."""
        with self._lock:
            self._round_trips.clear()
            self._beginning = time.perf_counter()

    def stop(self) -> None:
        """Record nothing more."""
        with self._lock:
            self._open = False

    def begin(self, store: StoreName, name: str, start: float | None = None) -> RoundTrip:
        """Record a round trip that starts now, or at a value of ``perf_counter()``."""
        start = time.perf_counter() if start is None else start
        round_trip = RoundTrip(store, name, start, start)
        with self._lock:
            if self._open and round_trip.start >= self._beginning:
                self._round_trips.append(round_trip)
        return round_trip
