"""Concurrent clients: one that acts between two steps of another, and many that act at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import redis
from pymongo.database import Database
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from helpers.lab.buyers import PurchaseAttempt, run_buyers
from helpers.stores import Stores
from helpers.stores.connect import Document, connect_mongo, connect_redis

T = TypeVar("T")

_MAX_WAIT_SECONDS = 0.5
_WRITES = {"update", "findAndModify", "bulkWrite", "insert", "delete"}


class _RunsActionBeforeCommand:
    """A mixin for redis-py's connection classes: call ``before`` before each command is sent."""

    before: Callable[[], None]
    _setting_up = False

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        self._setting_up = True
        try:
            super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._setting_up = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self._setting_up:
            self.before()
        super().send_packed_command(command, check_health=check_health)  # type: ignore[misc]


@contextlib.contextmanager
def interleave(stores: Stores, after: int, action: Callable[[], object]) -> Iterator[redis.Redis]:
    """Open another connection to Redis; ``action()`` runs once, between two of its round trips.

    It runs after ``after`` round trips, just before the next one; if there is no next one, it does
    not run. It has its own thread and should use its own connection. If it waits for this client,
    as for a lock, this client continues after half a second. At the end ``action`` is awaited, and
    its exception is raised. Running a test for ``after`` = 0, 1, 2, … covers every interleaving
    with one action, deterministically.
    """
    sent = 0
    futures: list[Future[object]] = []

    def before() -> None:
        nonlocal sent
        sent += 1
        if sent == after + 1:
            futures.append(executor.submit(action))
            wait(futures, _MAX_WAIT_SECONDS)

    with ThreadPoolExecutor(1, "action") as executor, _connect(stores) as client:
        pool = client.connection_pool
        pool.disconnect()
        pool.connection_class = type(
            "InterleavedConnection",
            (_RunsActionBeforeCommand, pool.connection_class),
            {"before": staticmethod(before)},
        )
        pool.reset()
        yield client
        for future in futures:
            future.result()


class _RunsActionBeforeWrite(CommandListener):
    def __init__(self, action: Callable[[], object]) -> None:
        self._action: Callable[[], object] | None = action

    def started(self, event: CommandStartedEvent) -> None:
        action = self._action
        if action is not None and event.command_name in _WRITES:
            self._action = None
            action()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing; ``CommandListener`` requires the method."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing; ``CommandListener`` requires the method."""


@contextlib.contextmanager
def interleave_before_write(
    stores: Stores, action: Callable[[], object]
) -> Iterator[Database[Document]]:
    """Open another connection to MongoDB; ``action()`` runs once, just before its first write."""
    listener = _RunsActionBeforeWrite(action)
    database = connect_mongo(
        stores.addresses.mongo, database=stores.mongo.name, listeners=[listener]
    )
    try:
        yield database
    finally:
        database.client.close()


def run_concurrently(
    stores: Stores, buyers: Sequence[T], act: Callable[[redis.Redis, T], object]
) -> list[object]:
    """Call ``act(client, buyer)`` for all ``buyers`` at once, and return the results in order.

    Each buyer has its own thread and connection. The first exception is raised.
    """

    @contextlib.contextmanager
    def connected(number: int) -> Iterator[Callable[[PurchaseAttempt], object]]:
        with _connect(stores) as client:
            yield lambda _: act(client, buyers[number])

    plans = [[PurchaseAttempt(number, 0, 1, "confirm")] for number in range(len(buyers))]
    return run_buyers(plans, connected)


def _connect(stores: Stores) -> AbstractContextManager[redis.Redis]:
    number = stores.redis.connection_pool.connection_kwargs.get("db")
    return connect_redis(stores.addresses.redis, database=number)
