"""The engine of each store: the name and version that its server reports."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.citus.cluster_databases import find_nodes
from helpers.stores.stores import Stores


@dataclass(frozen=True)
class Engine:
    """The name and version of a server, such as ``Valkey`` and ``9.1.2``."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def as_json(self) -> dict[str, str]:
        """Return ``{"engine": …, "version": …}``."""
        return {"engine": self.name, "version": self.version}


def postgres_engine(stores: Stores) -> Engine:
    """Return ``PostgreSQL`` and its version, with the version of Citus if it is installed."""
    version = stores.postgres.execute("SHOW server_version").fetchone()
    number = str(version[0]).split()[0] if version else "?"
    citus = stores.postgres.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'citus'"
    ).fetchone()
    if citus is None:
        return Engine("PostgreSQL", number)
    return Engine("PostgreSQL", f"{number} with Citus {citus[0]}")


def mongo_engine(stores: Stores) -> Engine:
    """Return ``MongoDB`` or ``SecantusDB``, and its version."""
    info = stores.mongo.client.server_info()
    if "secantusVersion" in info:
        return Engine("SecantusDB", str(info["secantusVersion"]))
    return Engine("MongoDB", str(info["version"]))


def redis_engine(stores: Stores) -> Engine:
    """Return ``Redis`` or ``Valkey``, and its version."""
    info = stores.redis.info("server")
    assert isinstance(info, dict)
    if "valkey_version" in info:
        return Engine("Valkey", str(info["valkey_version"]))
    return Engine("Redis", str(info["redis_version"]))


def describe_stores(stores: Stores) -> list[dict[str, str | int]]:
    """Return a row for each store: its engine, version and number of nodes."""
    rows = (
        ("PostgreSQL", postgres_engine(stores), len(find_nodes(stores.addresses))),
        ("MongoDB", mongo_engine(stores), 1),
        ("Redis", redis_engine(stores), 1),
    )
    return [
        {"store": store, "engine": engine.name, "version": engine.version, "nodes": nodes}
        for store, engine, nodes in rows
    ]
