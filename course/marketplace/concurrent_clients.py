"""Others who want the same units: one who comes between two steps, and many at the same moment."""

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

from helpers.lab.buyers import PurchaseAttempt
from helpers.lab.concurrent_buyers import run_buyers
from helpers.stores import Stores
from helpers.stores.connect import Document, connect_mongo, connect_redis

T = TypeVar("T")

_PATIENCE_SECONDS = 0.5
_WRITES = {"update", "findAndModify", "bulkWrite", "insert", "delete"}


class _Interrupted:
    """What is added to redis-py's connection class: something happens before a command is sent."""

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
def interrupted(stores: Stores, after: int, rival: Callable[[], object]) -> Iterator[redis.Redis]:
    """Connect to Redis once more; ``rival()`` comes, once, between two round trips.

    It comes when ``after`` round trips are over and the next one would begin; never, where there
    are no more of them. ``rival`` uses a connection of its own, and has a thread of its own: where
    it waits for us, as for a lock that we hold, we go on after half a second. At the end it has
    come to its end, too; its exception is raised. With every number in turn, all that one rival
    can come between is tried, without any chance in it.
    """
    sent = 0
    coming: list[Future[object]] = []

    def before() -> None:
        nonlocal sent
        sent += 1
        if sent == after + 1:
            coming.append(pool_of_one.submit(rival))
            wait(coming, _PATIENCE_SECONDS)

    with ThreadPoolExecutor(1, "rival") as pool_of_one, _connect(stores) as client:
        pool = client.connection_pool
        pool.disconnect()
        pool.connection_class = type(
            "InterruptedConnection",
            (_Interrupted, pool.connection_class),
            {"before": staticmethod(before)},
        )
        pool.reset()
        yield client
        for one in coming:
            one.result()


class _BeforeWrites(CommandListener):
    def __init__(self, rival: Callable[[], object]) -> None:
        self._rival: Callable[[], object] | None = rival

    def started(self, event: CommandStartedEvent) -> None:
        rival = self._rival
        if rival is not None and event.command_name in _WRITES:
            self._rival = None
            rival()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing of interest."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing of interest."""


@contextlib.contextmanager
def interrupted_writes(stores: Stores, rival: Callable[[], object]) -> Iterator[Database[Document]]:
    """Connect to MongoDB once more; ``rival()`` comes, once, just before the first write."""
    listener = _BeforeWrites(rival)
    database = connect_mongo(
        stores.addresses.mongo, database=stores.mongo.name, listeners=[listener]
    )
    try:
        yield database
    finally:
        database.client.close()


def clients_at_once(
    stores: Stores, buyers: Sequence[T], act: Callable[[redis.Redis, T], object]
) -> list[object]:
    """Call ``act(client, buyer)`` for all ``buyers`` at the same moment, and return the answers.

    Each buyer has a thread and a connection of its own. The first exception of any is raised.
    """

    @contextlib.contextmanager
    def at_work(number: int) -> Iterator[Callable[[PurchaseAttempt], object]]:
        with _connect(stores) as client:
            yield lambda _: act(client, buyers[number])

    plans = [[PurchaseAttempt(number, 0, 1, "confirm")] for number in range(len(buyers))]
    return run_buyers(plans, at_work)


def _connect(stores: Stores) -> AbstractContextManager[redis.Redis]:
    number = stores.redis.connection_pool.connection_kwargs.get("db")
    return connect_redis(stores.addresses.redis, database=number)
