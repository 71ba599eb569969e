"""Databases on a cluster: one PostgreSQL database is one on the coordinator and on every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from helpers.citus.sql_scripts import load_scripts, version
from helpers.errors import StoreError
from helpers.settings import Addresses, redact
from helpers.stores.connect import connect_postgres, explaining

#: How many workers a database spreads over, unless it is told otherwise.
WORKERS = 2

# Byte order whatever the server's locale: sorted text is the same on every backend.
_CREATE = sql.SQL(
    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin "
    "BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'"
)


@dataclass(frozen=True)
class Node:
    """One PostgreSQL node: ``url`` is how we reach it, ``host`` and ``port`` how other nodes do."""

    url: str = field(repr=False)
    host: str
    port: int


def create_database(nodes: Sequence[Node], name: str, *, citus: bool) -> None:
    """Make database ``name`` on every node, and a cluster of them; what is there already stays.

    ``nodes`` is the coordinator, then the workers to register. Where the nodes have no Citus, its
    SQL interface is loaded from our own scripts.

    Raises ``StoreError`` when a node does not answer, or when the database is there with scripts
    of another version.
    """
    make_all_ready(nodes, name, citus=citus)
    # In a new session: the scripts' settings belong to the database.
    with (
        connect_postgres(nodes[0].url, database=name) as connection,
        explaining("PostgreSQL", nodes[0].url),
        connection.transaction(),
    ):
        _join(connection, nodes)


def make_all_ready(nodes: Sequence[Node], name: str, *, citus: bool) -> None:
    """Make database ``name`` on every node, on all at the same time; ``nodes[0]`` coordinates.

    Raises ``StoreError`` as ``create_database`` does, that of the first node that has one.
    """

    def make(node: Node) -> None:
        make_ready(node, name, citus=citus, coordinator=node is nodes[0])

    with ThreadPoolExecutor(len(nodes)) as pool:
        for _ in pool.map(make, nodes):
            pass


def make_ready(node: Node, name: str, *, citus: bool, coordinator: bool = False) -> None:
    """Make database ``name`` on one node, with what it needs to be part of a cluster.

    Raises ``StoreError`` as ``create_database`` does.
    """
    with (
        connect_postgres(node.url, database="postgres") as connection,
        explaining("PostgreSQL", node.url),
    ):
        known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
        if known.fetchone() is None:
            connection.execute(_CREATE.format(sql.Identifier(name)))
    with (
        connect_postgres(node.url, database=name) as connection,
        explaining("PostgreSQL", node.url),
    ):
        if citus:
            connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
        else:
            load_scripts(connection, "coordinator" if coordinator else "worker")


def drop_database(nodes: Sequence[Node], name: str) -> None:
    """Drop database ``name`` on every node where it is, even if sessions are connected to it.

    The coordinator, ``nodes[0]``, comes first: while its database is there, Citus connects from it
    to the workers.
    """

    def drop(node: Node) -> None:
        with (
            connect_postgres(node.url, database="postgres") as connection,
            explaining("PostgreSQL", node.url),
        ):
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    coordinator, *workers = nodes
    drop(coordinator)
    if workers:
        with ThreadPoolExecutor(len(workers)) as pool:
            for _ in pool.map(drop, workers):
                pass


def nodes_of(addresses: Addresses) -> list[Node]:
    """Return the coordinator and its workers where all reach one another as we reach them."""
    urls = [addresses.coordinator, *addresses.workers]
    return [Node(url, *_host_and_port(url)) for url in urls]


def find_nodes(addresses: Addresses, *, spare: bool = True) -> list[Node]:
    """Return the coordinator and its workers, in the coordinator's order.

    Where the addresses name no workers, those that the coordinator knows are taken at the host
    names and ports that it uses, with the coordinator's user and password. Workers that the
    addresses name and that it does not know yet come last, or are left out without ``spare``.

    Raises ``StoreError`` when it knows more workers than the addresses name.
    """
    with connect_postgres(addresses.coordinator) as connection:
        known = _registered(connection)
    registered = [(host, port) for group, host, port in known if group != 0]
    if not addresses.workers:
        coordinator = urlsplit(addresses.coordinator)
        user = coordinator.netloc.rpartition("@")[0]
        urls = [
            coordinator._replace(netloc=f"{user}@{host}:{port}").geturl()
            for host, port in registered
        ]
        addresses = replace(addresses, workers=tuple(urls))
    own, *workers = nodes_of(addresses)
    if len(registered) > len(workers):
        raise StoreError(
            "PostgreSQL",
            redact(addresses.coordinator),
            f"the coordinator has {len(registered)} workers and POSTGRES_WORKER_URLS names "
            f"{len(workers)}",
            "Name them all there, in the order of SELECT * FROM citus_nodes.",
        )
    if not spare:
        workers = workers[: len(registered)]
    names = [*(addresses.worker_names or registered)][: len(workers)]
    names += [(node.host, node.port) for node in workers[len(names) :]]
    own_name = next(((host, port) for group, host, port in known if group == 0), None)
    return [
        Node(own.url, *(own_name or (own.host, own.port))),
        *(Node(node.url, *name) for node, name in zip(workers, names, strict=True)),
    ]


def fingerprint(addresses: Addresses) -> str:
    """Return what identifies a prepared cluster: its nodes and our way of joining them."""
    known = repr((addresses.coordinator, addresses.workers, _CREATE, version()))
    return hashlib.sha256(known.encode()).hexdigest()


def has_citus(connection: psycopg.Connection) -> bool:
    """Tell whether the node can load genuine Citus."""
    found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'citus'")
    return found.fetchone() is not None


def _registered(connection: psycopg.Connection) -> list[tuple[int, str, int]]:
    """Return group, host and port of each node that the coordinator knows, itself being group 0."""
    if connection.execute("SELECT to_regclass('pg_dist_node')").fetchone() == (None,):
        return []
    return connection.execute(
        "SELECT groupid, nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' "
        "ORDER BY nodeid"
    ).fetchall()


def _join(connection: psycopg.Connection, nodes: Sequence[Node]) -> None:
    """Make the nodes a cluster, by the same SQL whichever engine answers it."""
    coordinator, *workers = nodes
    known = {(host, port) for _, host, port in _registered(connection)}
    if (coordinator.host, coordinator.port) not in known:
        connection.execute(
            "SELECT citus_set_coordinator_host(%s, %s)", [coordinator.host, coordinator.port]
        )
    for node in workers:
        connection.execute("SELECT citus_add_node(%s, %s)", [node.host, node.port])


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432
