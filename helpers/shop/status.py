"""The status of all stores, as JSON for programs and as text for people."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from helpers.citus.cluster_databases import find_nodes
from helpers.embedded import EmbeddedServers
from helpers.errors import ServerError, StoreError
from helpers.settings import Addresses, Settings, redact
from helpers.shop.engines import Engine, mongo_engine, postgres_engine, redis_engine
from helpers.shop.opening import locate
from helpers.stores.connect import connect_postgres
from helpers.stores.stores import connect_all


@dataclass(frozen=True)
class Status:
    """Engine, version and addresses of every store, all of which are available."""

    postgres: Engine
    coordinator: str
    workers: tuple[str, ...]
    mongo: Engine
    mongo_url: str
    redis: Engine
    redis_url: str

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Return the status as JSON. The URLs contain passwords."""
        return {
            "postgres": {
                **self.postgres.as_json(),
                "coordinator": self.coordinator,
                "workers": list(self.workers),
            },
            "mongo": {**self.mongo.as_json(), "url": self.mongo_url},
            "redis": {**self.redis.as_json(), "url": self.redis_url},
        }

    def as_text(self) -> str:
        """Return the status as lines of text, without passwords."""
        engines = {"coordinator": self.postgres, "mongo": self.mongo, "redis": self.redis}
        return "\n".join(
            f"{name:<12} {engines.get(name, self.postgres)!s:<38} {redact(url)}"
            for name, url in self.urls().items()
        )

    def urls(self) -> dict[str, str]:
        """Return the URL of each server by its name. The URLs contain passwords."""
        workers = {f"worker{number}": url for number, url in enumerate(self.workers, start=1)}
        return {
            "coordinator": self.coordinator,
            **workers,
            "mongo": self.mongo_url,
            "redis": self.redis_url,
        }


def read_status(settings: Settings) -> Status:
    """Read name and version of every server.

    Embedded servers that crashed are restarted; servers that were stopped are not.

    Raises ``ServerError`` if the embedded servers are stopped, ``StoreError`` if a server is
    unavailable.
    """
    if settings.addresses is not None:
        return _read(settings.addresses, embedded=False)
    servers = EmbeddedServers(settings)
    if not servers.are_up():
        raise ServerError(
            f"The servers in {settings.data_folder} are not running: start them with "
            "`python -m helpers up` or `make lab`."
        )
    saved = servers.saved_addresses()
    with contextlib.suppress(StoreError):
        if saved is not None:
            return _read(saved, embedded=True)
    # A server has crashed, or the last start was interrupted.
    return _read(locate(settings), embedded=True)


def _read(addresses: Addresses, *, embedded: bool) -> Status:
    workers = addresses.workers
    if not embedded:
        workers = tuple(node.url for node in find_nodes(addresses, include_unregistered=False)[1:])
    for url in workers:
        connect_postgres(url).close()
    with connect_all(addresses) as stores:
        return Status(
            postgres_engine(stores),
            addresses.coordinator,
            workers,
            mongo_engine(stores),
            addresses.mongo,
            redis_engine(stores),
            addresses.redis,
        )
