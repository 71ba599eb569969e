"""Stores whose requests are counted, or that become unavailable: what the tests observe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from course.marketplace.clients import Relays, relayed
from course.marketplace.relays import open_relays
from helpers.errors import StoreName
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits

#: The timeout of a store. An available one responds within a few milliseconds.
ANSWER_SECONDS = 1.0

_STORES: tuple[StoreName, ...] = ("PostgreSQL", "MongoDB", "Redis")


class RoundTrips(dict[StoreName, int]):
    """The number of round trips to each store since ``clear``."""

    def __init__(self) -> None:
        super().__init__()
        self._before = dict.fromkeys(_STORES, 0)
        self.clear()

    def clear(self) -> None:
        """Count from zero."""
        self._before = _counted()
        self.update(dict.fromkeys(_STORES, 0))

    def stop(self) -> None:
        """Read the counts."""
        self.update({store: count - self._before[store] for store, count in _counted().items()})


def _counted() -> dict[StoreName, int]:
    # Of all relays: a function may use another connection than the one that it is given.
    relays = list(open_relays)
    return {store: sum(one.trips for one in relays if one.store == store) for store in _STORES}


@contextlib.contextmanager
def count_round_trips(stores: Stores) -> Iterator[tuple[Stores, RoundTrips]]:
    """Connect to the databases of ``stores`` again, and count the round trips of all clients.

    The counts can be read after the end.
    """
    with relayed(stores) as (near, _):
        trips = RoundTrips()
        try:
            yield near, trips
        finally:
            trips.stop()


@contextlib.contextmanager
def proxied_with_timeouts(stores: Stores) -> Iterator[tuple[Stores, Relays]]:
    """Connect to the databases of ``stores`` through relays that can be cut or frozen.

    Yields the connections and the relays. A store that does not respond raises its driver's error
    after about a second.

    Raises ``SettingsError`` or ``StoreError``.
    """
    with relayed(stores, Limits(answer_seconds=ANSWER_SECONDS)) as found:
        yield found
