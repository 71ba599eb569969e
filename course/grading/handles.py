"""Open stores, named so that the student's process can open its own connections to them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
from pymongo.collection import Collection
from pymongo.database import Database

from course.marketplace.clients import Clients, Relays
from course.marketplace.relays import Relay
from helpers.settings import Addresses
from helpers.stores import Stores
from helpers.stores.connect import Document, connect_mongo, connect_postgres, connect_redis
from helpers.stores.connection_limits import Limits
from helpers.stores.stores import connect_all

_tokens = itertools.count(1)


@dataclass(frozen=True)
class Remote:
    """Stands for a connection, or a part of one, that only the student's process opens."""

    handle: dict[str, Any]

    def __getattr__(self, name: str) -> Remote:
        if name.startswith("_"):
            raise AttributeError(name)
        return Remote({**self.handle, "part": [*self.handle.get("part", ()), name]})


class RemoteClients(Clients):
    """Connections of the student's process; ``through`` are the addresses that it reaches."""

    def __init__(
        self,
        through: Addresses,
        relay: Callable[[str], Relay],
        expect_concurrent_calls: Callable[[], None],
        ask: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._through = through
        self._relay = relay
        self._expect = expect_concurrent_calls
        self._ask = ask

    def relay(self, address: str) -> Relay:
        """Open a relay that listens inside the sandbox."""
        return self._relay(address)

    def redis(self, stores: Stores, url: str) -> AbstractContextManager[redis.Redis]:
        """Name a new connection to Redis."""
        remote: Any = Remote(_redis_handle(url, stores.redis_database))
        return nullcontext(remote)

    def mongo(self, stores: Stores, url: str) -> AbstractContextManager[Database[Document]]:
        """Name a new connection to MongoDB."""
        handle = {"kind": "mongo", "url": url, "database": stores.mongo.name}
        return self._opened(Remote({**handle, "token": next(_tokens)}))

    def stores(
        self, stores: Stores, relays: Relays, limits: Limits | None
    ) -> AbstractContextManager[Stores]:
        """Name new connections to the three stores."""
        addresses = {
            "coordinator": relays.postgres.url,
            "mongo": relays.mongo.url,
            "redis": relays.redis.url,
        }
        seconds = None if limits is None else limits.seconds("Redis")
        handle = _stores_handle(stores, self._through, addresses, seconds)
        return self._opened(Remote(handle))

    @contextlib.contextmanager
    def _opened(self, remote: Remote) -> Iterator[Any]:
        # Connecting takes round trips, which must not be counted, and PyMongo says goodbye, which
        # must find its relay open.
        self._ask("open", remote.handle)
        try:
            yield remote
        finally:
            self._ask("close", remote.handle)

    def expect_concurrent_calls(self) -> None:
        """Fork the student's process."""
        self._expect()

    def handle_of(self, value: object) -> dict[str, Any] | None:
        """Return the handle of an open store, for ``wire.encode``; ``None`` if it is none."""
        through = self._through
        match value:
            case Remote():
                return value.handle
            case Stores():
                return _stores_handle(value, through, {}, None, token=0)
            case psycopg.Connection():
                database = value.info.dbname
                return {"kind": "postgres", "url": through.coordinator, "database": database}
            case Database():
                return {"kind": "mongo", "url": through.mongo, "database": value.name}
            case Collection():
                named = {"database": value.database.name, "part": [value.name]}
                return {"kind": "mongo", "url": through.mongo, **named}
            case redis.Redis():
                number = value.connection_pool.connection_kwargs.get("db")
                return _redis_handle(through.redis, number, token=0)
        return None


def _redis_handle(url: str, number: int | None, token: int | None = None) -> dict[str, Any]:
    token = next(_tokens) if token is None else token
    return {"kind": "redis", "url": url, "database": number, "token": token}


def _stores_handle(
    stores: Stores,
    through: Addresses,
    addresses: dict[str, str],
    seconds: float | None,
    token: int | None = None,
) -> dict[str, Any]:
    names = [list(name) for name in through.worker_names]
    return {
        "kind": "stores",
        "coordinator": through.coordinator,
        "mongo": through.mongo,
        "redis": through.redis,
        **addresses,
        "workers": list(through.workers),
        "worker_names": names,
        "embedded": through.embedded,
        "database": stores.mongo.name,
        "number": stores.redis_database,
        "seconds": seconds,
        "token": next(_tokens) if token is None else token,
    }


def open_handle(handle: dict[str, Any]) -> tuple[Any, Callable[[], Any]]:
    """Connect to the stores of a handle; return the connection and the function that closes it.

    Raises ``StoreError`` if the store does not respond.
    """
    match handle["kind"]:
        case "postgres":
            postgres = connect_postgres(handle["url"], database=handle["database"])
            return postgres, postgres.close
        case "redis":
            client = connect_redis(handle["url"], database=handle["database"])
            return client, client.close
        case "mongo":
            database = connect_mongo(handle["url"], database=handle["database"])
            return database, database.client.close
        case _:
            names = tuple((host, port) for host, port in handle["worker_names"])
            addresses = Addresses(
                handle["coordinator"],
                tuple(handle["workers"]),
                handle["mongo"],
                handle["redis"],
                names,
                embedded=handle["embedded"],
            )
            seconds = handle["seconds"]
            limits = None if seconds is None else Limits(answer_seconds=seconds)
            stores = connect_all(
                addresses,
                database=handle["database"],
                redis_database=handle["number"],
                limits=limits,
            )
            return stores, stores.close


def part_of(opened: Any, handle: dict[str, Any]) -> Any:
    """Return the part of an open connection that a handle names."""
    for name in handle.get("part", ()):
        opened = opened[name] if isinstance(opened, Database) else getattr(opened, name)
    return opened
