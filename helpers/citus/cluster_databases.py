"""Databases on a cluster: a database with the same name on the coordinator and on every worker.

If the nodes have no Citus, the scripts in ``sql/coordinator`` and ``sql/worker`` give a database
the part of Citus's SQL interface that the course uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from helpers.errors import StoreError
from helpers.settings import Addresses, redact
from helpers.stores.connect import connect_postgres, explaining
from helpers.stores.ownership import check_postgres, claim_postgres

#: The default number of workers of a database.
WORKERS = 2

NodeKind = Literal["coordinator", "worker"]

_SQL = Path(__file__).with_name("sql")

# Sort text by bytes, whatever the server's locale, so that its order is the same everywhere.
_CREATE = sql.SQL(
    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin "
    "BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'"
)


@dataclass(frozen=True)
class Node:
    """A PostgreSQL node. This process connects to ``url``, other nodes to ``host`` and ``port``."""

    url: str = field(repr=False)
    host: str
    port: int


def create_database(
    nodes: Sequence[Node], name: str, *, citus: bool, embedded: bool = True
) -> None:
    """Create database ``name`` on every node, and a cluster of them; existing ones are kept.

    ``nodes`` are the coordinator and then the workers to register. If the nodes do not have Citus
    (``citus``), the SQL scripts of its interface are loaded. On nodes that are not ``embedded``,
    the databases are marked as the course's (``helpers.stores.ownership``).

    Raises ``StoreError`` if a node is unavailable, or if the database exists with other scripts;
    ``ForeignDataError`` if it has data that the course did not create.
    """
    prepare_databases(nodes, name, citus=citus, embedded=embedded)
    # In a new session, since the scripts have changed the database's settings.
    with (
        connect_postgres(nodes[0].url, database=name) as connection,
        explaining("PostgreSQL", nodes[0].url),
        connection.transaction(),
    ):
        _join(connection, nodes)


def prepare_databases(
    nodes: Sequence[Node], name: str, *, citus: bool, embedded: bool = True
) -> None:
    """Create database ``name`` on all nodes at the same time; ``nodes[0]`` is the coordinator.

    Raises the ``StoreError`` of the first node that has one, as ``create_database`` does.
    """

    def prepare(node: Node) -> None:
        is_coordinator = node is nodes[0]
        prepare_database(node, name, citus=citus, coordinator=is_coordinator, embedded=embedded)

    with ThreadPoolExecutor(len(nodes)) as pool:
        for _ in pool.map(prepare, nodes):
            pass


def prepare_database(
    node: Node, name: str, *, citus: bool, coordinator: bool = False, embedded: bool = True
) -> None:
    """Create database ``name`` on one node, with the extension or the scripts of its kind.

    Raises ``StoreError`` as ``create_database`` does.
    """
    with (
        connect_postgres(node.url, database="postgres") as connection,
        explaining("PostgreSQL", node.url),
    ):
        if not _has_database(connection, name):
            connection.execute(_CREATE.format(sql.Identifier(name)))
    with (
        connect_postgres(node.url, database=name) as connection,
        explaining("PostgreSQL", node.url),
    ):
        if not embedded:
            claim_postgres(connection, node.url)
        if citus:
            connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
        else:
            load_scripts(connection, "coordinator" if coordinator else "worker")


def drop_database(nodes: Sequence[Node], name: str, *, embedded: bool = True) -> None:
    """Drop database ``name`` on every node that has it, also if sessions are connected to it.

    It is dropped on the coordinator (``nodes[0]``) first: while it exists there, Citus connects
    from it to the workers. On nodes that are not ``embedded``, only databases with the course's
    marker are dropped; empty ones without it are kept.

    Raises ``StoreError`` if a node is unavailable; ``ForeignDataError``, before anything is
    dropped, if a node's database has data that the course did not create.
    """
    if not embedded:
        nodes = [node for node in nodes if _is_ours(node, name)]

    def drop(node: Node) -> None:
        with (
            connect_postgres(node.url, database="postgres") as connection,
            explaining("PostgreSQL", node.url),
        ):
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    for node in nodes[:1]:
        drop(node)
    if workers := nodes[1:]:
        with ThreadPoolExecutor(len(workers)) as pool:
            for _ in pool.map(drop, workers):
                pass


def _has_database(connection: psycopg.Connection, name: str) -> bool:
    found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
    return found.fetchone() is not None


def _is_ours(node: Node, name: str) -> bool:
    """Return whether the node has a database ``name`` with the marker."""
    with (
        connect_postgres(node.url, database="postgres") as connection,
        explaining("PostgreSQL", node.url),
    ):
        if not _has_database(connection, name):
            return False
    with (
        connect_postgres(node.url, database=name) as connection,
        explaining("PostgreSQL", node.url),
    ):
        return check_postgres(connection, node.url) == "ours"


def nodes_of(addresses: Addresses) -> list[Node]:
    """Return the coordinator and its workers if all are reached by the same addresses."""
    urls = [addresses.coordinator, *addresses.workers]
    return [Node(url, *_host_and_port(url)) for url in urls]


def find_nodes(addresses: Addresses, *, include_unregistered: bool = True) -> list[Node]:
    """Return the coordinator and its workers, in the order in which the coordinator lists them.

    If the addresses name no workers, this returns the ones that the coordinator has registered, at
    their registered host names and ports, with the coordinator's user and password. Workers that
    the addresses name but that are not registered come last.

    Raises ``StoreError`` if more workers are registered than the addresses name.
    """
    with connect_postgres(addresses.coordinator) as connection:
        rows = _registered(connection)
    registered = [(host, port) for group, host, port in rows if group != 0]
    if not addresses.workers:
        coordinator = urlsplit(addresses.coordinator)
        user = coordinator.netloc.rpartition("@")[0]
        urls = [
            coordinator._replace(netloc=f"{user}@[{host}]:{port}").geturl()
            if ":" in host  # IPv6
            else coordinator._replace(netloc=f"{user}@{host}:{port}").geturl()
            for host, port in registered
        ]
        addresses = replace(addresses, workers=tuple(urls))
    coordinator_node, *workers = nodes_of(addresses)
    if len(registered) > len(workers):
        raise StoreError(
            "PostgreSQL",
            redact(addresses.coordinator),
            f"the coordinator has {len(registered)} workers and POSTGRES_WORKER_URLS names "
            f"{len(workers)}",
            "Name them all there, in the order of SELECT * FROM citus_nodes.",
        )
    if not include_unregistered:
        workers = workers[: len(registered)]
    names = [*(addresses.worker_names or registered)][: len(workers)]
    names += [(node.host, node.port) for node in workers[len(names) :]]
    coordinator_name = next(
        ((host, port) for group, host, port in rows if group == 0),
        (coordinator_node.host, coordinator_node.port),
    )
    return [
        Node(coordinator_node.url, *coordinator_name),
        *(Node(node.url, *name) for node, name in zip(workers, names, strict=True)),
    ]


def fingerprint(addresses: Addresses) -> str:
    """Return a hash of a prepared cluster: of its addresses and the SQL that prepared it."""
    parts = repr((addresses.coordinator, addresses.workers, _CREATE, scripts_version()))
    return hashlib.sha256(parts.encode()).hexdigest()


def has_citus(connection: psycopg.Connection) -> bool:
    """Return whether the node can load genuine Citus."""
    found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'citus'")
    return found.fetchone() is not None


def load_scripts(connection: psycopg.Connection, kind: NodeKind) -> None:
    """Load the scripts for one kind of node into the connected database, in one transaction.

    If they are loaded already, do nothing. Raises ``StoreError`` if the database has another
    version of them.
    """
    loaded = _loaded_version(connection)
    if loaded == scripts_version():
        return
    if loaded is not None:
        raise StoreError(
            "PostgreSQL",
            f"database {connection.info.dbname}",
            "it was made by another version of this course",
            "Start over with `python -m helpers reset` (this deletes the data).",
        )
    with connection.transaction():
        for script in scripts(kind):
            connection.execute(script.read_bytes())
        connection.execute("RESET ALL")  # the scripts' own settings
        connection.execute(
            sql.SQL("COMMENT ON SCHEMA sharding IS {}").format(sql.Literal(scripts_version()))
        )


def scripts(kind: NodeKind) -> list[Path]:
    """Return the scripts for one kind of node, in the order in which they are loaded."""
    return sorted((_SQL / kind).glob("*.sql"))


@cache
def scripts_version() -> str:
    """Return a hash of all scripts."""
    digest = hashlib.sha256()
    for kind in ("coordinator", "worker"):
        for script in scripts(kind):
            digest.update(script.read_bytes())
    return digest.hexdigest()


def _loaded_version(connection: psycopg.Connection) -> str | None:
    """Return the version of the database's scripts, ``None`` without any, ``""`` if unknown."""
    row = connection.execute(
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace "
        "WHERE nspname = 'sharding'"
    ).fetchone()
    return None if row is None else str(row[0])


def _registered(connection: psycopg.Connection) -> list[tuple[int, str, int]]:
    """Return group, host and port of the nodes in the metadata; group 0 is the coordinator."""
    if connection.execute("SELECT to_regclass('pg_dist_node')").fetchone() == (None,):
        return []
    return connection.execute(
        "SELECT groupid, nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' "
        "ORDER BY nodeid"
    ).fetchall()


def _join(connection: psycopg.Connection, nodes: Sequence[Node]) -> None:
    """Join the nodes to a cluster. The SQL is the same with and without Citus."""
    coordinator, *workers = nodes
    registered = {(host, port) for _, host, port in _registered(connection)}
    if (coordinator.host, coordinator.port) not in registered:
        connection.execute(
            "SELECT citus_set_coordinator_host(%s, %s)", [coordinator.host, coordinator.port]
        )
    for node in workers:
        connection.execute("SELECT citus_add_node(%s, %s)", [node.host, node.port])


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432
