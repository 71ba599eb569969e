"""Concurrent clients: one that acts between two steps of another, and many that act at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import redis
from pymongo.database import Database

from course.marketplace import clients as means
from course.marketplace.relays import Before, Relay, open_relays
from helpers.lab.buyers import PurchaseAttempt, run_buyers
from helpers.stores import Stores
from helpers.stores.connect import Document

T = TypeVar("T")
Own = TypeVar("Own")
Rival = TypeVar("Rival")

#: A client that needs more round trips than this is not interrupted after them.
MOST_STEPS = 12

_MAX_WAIT_SECONDS = 0.5
_WRITES = {"update", "findAndModify", "bulkWrite", "insert", "delete"}


@contextlib.contextmanager
def interleave(
    stores: Stores, after: int, action: Callable[[redis.Redis], object]
) -> Iterator[redis.Redis]:
    """Open another connection to Redis; ``action`` runs once, between two of its round trips.

    It runs after ``after`` round trips, just before the next one; if there is no next one, it does
    not run. It gets its own connection, which it must use. If it waits for this client, as for
    a lock, this client continues after half a second. At the end ``action`` is awaited, and its
    exception is raised. Running a test for ``after`` = 0, 1, 2, … covers every interleaving with
    one action, deterministically.
    """
    address = stores.addresses.redis
    means.clients.expect_concurrent_calls()
    with (
        means.clients.relay(address) as relay,
        means.clients.relay(address) as other,
        means.clients.redis(stores, relay.url) as client,
        means.clients.redis(stores, other.url) as theirs,
        _acting(lambda: action(theirs), other, after, wait_for=None),
    ):
        yield client


def every_interleaving(
    stores: Stores,
    prepare: Callable[[], object],
    own: Callable[[redis.Redis], Own],
    rival: Callable[[redis.Redis], Rival],
) -> Iterator[tuple[int, Own, Rival]]:
    """Run ``own`` and ``rival`` for each step of ``own`` that ``rival`` can come before.

    Calls ``prepare()`` first each time, and yields the step and the two results; last, ``rival``
    runs after ``own``.
    """
    for step in range(MOST_STEPS):
        prepare()
        theirs: list[Rival] = []

        def act(client: redis.Redis, theirs: list[Rival] = theirs) -> None:
            theirs.append(rival(client))

        with interleave(stores, step, act) as client:
            mine = own(client)
        interrupted = bool(theirs)
        if not interrupted:
            theirs.append(rival(stores.redis))
        yield step, mine, theirs[0]
        if not interrupted:
            return


@contextlib.contextmanager
def interleave_before_write(
    stores: Stores, action: Callable[[], object]
) -> Iterator[Database[Document]]:
    """Open another connection to MongoDB; ``action()`` runs once, just before its first write."""
    with (
        means.clients.relay(stores.addresses.mongo) as relay,
        means.clients.mongo(stores, relay.url) as database,
        _acting(action, None, 0, wait_for=_WRITES),
    ):
        yield database


@contextlib.contextmanager
def _acting(
    action: Callable[[], object], excluded: Relay | None, after: int, wait_for: set[str] | None
) -> Iterator[None]:
    """Run ``action`` once, before a round trip through any relay but ``excluded``."""
    futures: list[Future[object]] = []
    seen = 0

    def before(commands: list[str]) -> None:
        nonlocal seen
        if wait_for is not None and not wait_for.intersection(commands):
            return
        seen += 1
        if seen == after + 1:
            futures.append(executor.submit(action))
            wait(futures, _MAX_WAIT_SECONDS)

    store = "Redis" if wait_for is None else "MongoDB"
    relays = [relay for relay in open_relays if relay.store == store and relay is not excluded]
    with ThreadPoolExecutor(1, "action") as executor:
        _set(relays, before)
        try:
            yield
        finally:
            _set(relays, None)
        for future in futures:
            future.result()


def _set(relays: list[Relay], before: Before | None) -> None:
    for relay in relays:
        relay.before = before


def run_concurrently(
    stores: Stores, buyers: Sequence[T], act: Callable[[redis.Redis, T], object]
) -> list[object]:
    """Call ``act(client, buyer)`` for all ``buyers`` at once, and return the results in order.

    Each buyer has its own thread and connection. The first exception is raised.
    """
    means.clients.expect_concurrent_calls()
    with means.clients.relay(stores.addresses.redis) as relay:

        @contextlib.contextmanager
        def connected(number: int) -> Iterator[Callable[[PurchaseAttempt], object]]:
            with means.clients.redis(stores, relay.url) as client:
                yield lambda _: act(client, buyers[number])

        plans = [[PurchaseAttempt(number, 0, 1, "confirm")] for number in range(len(buyers))]
        return run_buyers(plans, connected)
