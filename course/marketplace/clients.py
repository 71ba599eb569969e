"""How the tests hand stores to the functions under test: as connections of this process.

The grader replaces ``clients``, since there the functions run in another process.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import redis
from pymongo.database import Database

from course.marketplace.relays import Relay
from helpers.stores import Stores
from helpers.stores.connect import Document, connect_mongo, connect_redis
from helpers.stores.connection_limits import Limits
from helpers.stores.stores import connect_again


@dataclass(frozen=True)
class Relays:
    """A relay for each of the three stores."""

    postgres: Relay
    mongo: Relay
    redis: Relay


class Clients:
    """Opens relays, and connections through them."""

    def relay(self, address: str) -> Relay:
        """Open a relay to the store at ``address``."""
        return Relay(address, socket.create_server(("127.0.0.1", 0)))

    def redis(self, stores: Stores, url: str) -> AbstractContextManager[redis.Redis]:
        """Connect to the logical database of ``stores`` through ``url``."""
        return connect_redis(url, database=stores.redis_database)

    def mongo(self, stores: Stores, url: str) -> AbstractContextManager[Database[Document]]:
        """Connect to the database of ``stores`` in MongoDB through ``url``."""
        return _closing(connect_mongo(url, database=stores.mongo.name))

    def stores(
        self, stores: Stores, relays: Relays, limits: Limits | None
    ) -> AbstractContextManager[Stores]:
        """Connect to the databases of ``stores`` through ``relays``."""
        addresses = replace(
            stores.addresses,
            coordinator=relays.postgres.url,
            mongo=relays.mongo.url,
            redis=relays.redis.url,
        )
        return connect_again(stores, addresses, limits=limits)

    def expect_concurrent_calls(self) -> None:
        """Prepare for a function that is called while another call is running."""


@contextlib.contextmanager
def _closing(database: Database[Document]) -> Iterator[Database[Document]]:
    with database.client:
        yield database


#: What this process uses.
clients = Clients()


def use(chosen: Clients) -> None:
    """Replace ``clients`` in this process."""
    global clients
    clients = chosen


@contextlib.contextmanager
def relayed(stores: Stores, limits: Limits | None = None) -> Iterator[tuple[Stores, Relays]]:
    """Connect to the databases of ``stores`` through relays, optionally within ``limits``.

    Raises ``SettingsError`` or ``StoreError``.
    """
    addresses = stores.addresses
    with (
        clients.relay(addresses.coordinator) as postgres,
        clients.relay(addresses.mongo) as mongo,
        clients.relay(addresses.redis) as redis_relay,
    ):
        relays = Relays(postgres, mongo, redis_relay)
        with clients.stores(stores, relays, limits) as near:
            try:
                yield near, relays
            finally:  # before it is closed: PyMongo says goodbye, and waits
                for relay in (postgres, mongo, redis_relay):
                    relay.restore()
