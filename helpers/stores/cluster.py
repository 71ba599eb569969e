"""Databases on a cluster: one PostgreSQL database is one on the coordinator and on every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

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

    url: str
    host: str
    port: int


def create_database(nodes: Sequence[Node], name: str, *, citus: bool) -> None:
    """Make database ``name`` on every node, and a cluster of them; what is there already stays.

    ``nodes`` is the coordinator, then the workers to register. Raises ``StoreError`` when a node
    does not answer.
    """
    for node in nodes:
        with (
            connect_postgres(node.url, database="postgres") as connection,
            explaining("PostgreSQL", node.url),
        ):
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                connection.execute(_CREATE.format(sql.Identifier(name)))
        if citus:
            with (
                connect_postgres(node.url, database=name) as connection,
                explaining("PostgreSQL", node.url),
            ):
                connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
    with connect_postgres(nodes[0].url, database=name) as connection:
        join = _join_with_citus if citus else _join_with_fdw
        with explaining("PostgreSQL", nodes[0].url), connection.transaction():
            join(connection, nodes)


def drop_database(nodes: Sequence[Node], name: str) -> None:
    """Drop database ``name`` on every node where it is, whoever is connected to it."""
    for node in nodes:
        with (
            connect_postgres(node.url, database="postgres") as connection,
            explaining("PostgreSQL", node.url),
        ):
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


def nodes_of(addresses: Addresses) -> list[Node]:
    """Return the coordinator and its workers where all reach one another as we reach them."""
    urls = [addresses.coordinator, *addresses.workers]
    return [Node(url, *_host_and_port(url)) for url in urls]


def find_nodes(addresses: Addresses) -> list[Node]:
    """Return the coordinator and its workers, as the coordinator knows them.

    Where the addresses name no workers, those that the coordinator knows are taken at the host
    names and ports that it uses, with the coordinator's user and password.
    """
    with connect_postgres(addresses.coordinator) as connection:
        known = _registered(connection)
    registered = [Node("", host, port) for group, host, port in known if group != 0]
    if not addresses.workers:
        coordinator = urlsplit(addresses.coordinator)
        user = coordinator.netloc.rpartition("@")[0]
        urls = [
            coordinator._replace(netloc=f"{user}@{node.host}:{node.port}").geturl()
            for node in registered
        ]
        addresses = replace(addresses, workers=tuple(urls))
    nodes = nodes_of(addresses)
    if len(registered) > len(nodes) - 1:
        raise StoreError(
            "PostgreSQL",
            redact(addresses.coordinator),
            f"the coordinator has {len(registered)} workers and POSTGRES_WORKER_URLS names "
            f"{len(nodes) - 1}",
            "Name them all there, in the order of SELECT * FROM citus_nodes.",
        )
    seen = [Node("", host, port) for group, host, port in known if group == 0] or nodes[:1]
    seen += registered
    return [
        *(replace(node, url=own.url) for node, own in zip(seen, nodes, strict=False)),
        *nodes[len(seen) :],
    ]


def fingerprint(addresses: Addresses) -> str:
    """Return what identifies a prepared cluster: its nodes and our way of joining them."""
    known = repr((addresses.coordinator, addresses.workers, _CREATE, WORKERS))
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


def _join_with_citus(connection: psycopg.Connection, nodes: Sequence[Node]) -> None:
    coordinator, *workers = nodes
    if _registered(connection):
        return
    connection.execute(
        "SELECT citus_set_coordinator_host(%s, %s)", [coordinator.host, coordinator.port]
    )
    for node in workers:
        connection.execute("SELECT citus_add_node(%s, %s)", [node.host, node.port])


def _join_with_fdw(connection: psycopg.Connection, nodes: Sequence[Node]) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
    for number, node in enumerate(nodes[1:], start=1):
        server = sql.Identifier(f"worker{number}")
        connection.execute(
            sql.SQL(
                "CREATE SERVER IF NOT EXISTS {} FOREIGN DATA WRAPPER postgres_fdw "
                "OPTIONS (host {}, port {}, dbname {})"
            ).format(
                server,
                sql.Literal(node.host),
                sql.Literal(str(node.port)),
                sql.Literal(connection.info.dbname),
            )
        )
        connection.execute(
            sql.SQL("CREATE USER MAPPING IF NOT EXISTS FOR CURRENT_USER SERVER {}").format(server)
        )


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432
