"""The cluster of the SQL interface's tests, and databases on it without registered workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from helpers.citus.cluster_databases import (
    Node,
    drop_database,
    has_citus,
    nodes_of,
    prepare_databases,
)
from helpers.embedded import EmbeddedServers
from helpers.settings import Addresses, Settings, load_settings
from helpers.shop import locate
from helpers.stores.connect import connect_postgres
from tests.e2e.servers.server_helpers import temporary_data_folder

Connection = psycopg.Connection[tuple[Any, ...]]

# Suppress notices, and print times the same everywhere.
_OPTIONS = "-c client_min_messages=error -c timezone=UTC"


@dataclass(frozen=True)
class Database:
    """A database on every node; ``nodes`` is the coordinator, then the workers by port."""

    nodes: tuple[Node, ...] = field(repr=False)  # their addresses hold the password
    name: str

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def connect(self, node: int = 0) -> Connection:
        """Open a session in autocommit mode: on the coordinator, or on worker ``node``."""
        conninfo = make_conninfo(self.nodes[node].url, dbname=self.name, options=_OPTIONS)
        return psycopg.connect(conninfo, autocommit=True)

    def address(self, node: int) -> str:
        """Return host and port of a node as two SQL arguments."""
        return f"'{self.nodes[node].host}', {self.nodes[node].port}"

    def register(self, workers: int) -> None:
        """Join the coordinator and the first ``workers`` workers to a cluster."""
        with self.connect() as connection:
            connection.execute(f"SELECT citus_set_coordinator_host({self.address(0)})")
            for worker in range(1, workers + 1):
                connection.execute(f"SELECT citus_add_node({self.address(worker)})")

    def empty(self) -> None:
        """Drop the tables and schemas of tests on every node; workers stay registered."""
        for node in range(len(self.nodes)):
            with self.connect(node) as connection:
                connection.execute("SET lock_timeout = '60s'")
                for (command,) in rows(connection, _DROP_COMMANDS):
                    connection.execute(command.encode())


# Returns commands that drop the tables of tests in one statement, since some refer to others, and
# then the schemas.
_DROP_COMMANDS = r"""
WITH test_schema AS (
    SELECT oid, nspname
    FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\_%'
      AND nspname NOT IN ('public', 'information_schema', 'sharding', 'sharding_aside', 'shards',
          'citus', 'citus_internal', 'columnar', 'columnar_internal')
)
SELECT format('DROP TABLE %s CASCADE', string_agg(oid::regclass::text, ', '))
FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition
  AND (relnamespace = 'public'::regnamespace OR relnamespace IN (SELECT oid FROM test_schema))
HAVING count(*) > 0
UNION ALL
SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM test_schema
"""


@dataclass(frozen=True)
class Cluster:
    """Four nodes; the one with the lowest port is the coordinator, as in the recordings."""

    nodes: tuple[Node, ...] = field(repr=False)
    citus: bool
    name: str = "conformance"
    servers: EmbeddedServers | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    @contextlib.contextmanager
    def database(self, workers: int = 0) -> Iterator[Database]:
        """Yield an empty database with ``workers`` registered workers; drop it at the end."""
        database = Database(self.nodes, f"{self.name}_{next(self._numbers)}")
        try:
            prepare_databases(self.nodes, database.name, citus=self.citus)
            if workers:
                database.register(workers)
            yield database
        finally:
            drop_database(self.nodes, database.name)

    @contextlib.contextmanager
    def stopped(self, node: int) -> Iterator[None]:
        """Stop a node of a separate cluster; start it again at the end."""
        assert self.servers is not None, "other tests use these servers"
        names = ["coordinator", "worker1", "worker2", "worker3"]
        servers = [self.servers.server(name) for name in names]
        [server] = [server for server in servers if server.port == self.nodes[node].port]
        server.stop()
        try:
            yield
        finally:
            self.servers.up()


def shared_cluster(name: str) -> Cluster | None:
    """Return the cluster that all tests share; its databases' names begin with ``name``.

    Return ``None`` if the servers are given by address: they may have fewer than three workers.
    """
    settings = load_settings()
    if settings.addresses is not None:
        return None
    return _cluster(locate(settings, workers=3), name)


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a coordinator and three workers, with Citus if PG_BINDIR has it; remove them."""
    with temporary_data_folder() as data_folder:
        settings = Settings(data_folder, pg_bindir=load_settings().pg_bindir, durable=False)
        servers = EmbeddedServers(settings)
        try:
            yield _cluster(servers.up(workers=3), "conformance", servers)
        finally:
            servers.reset()


def _cluster(addresses: Addresses, name: str, servers: EmbeddedServers | None = None) -> Cluster:
    # Any node can be the coordinator of a database.
    nodes = sorted(nodes_of(addresses)[:4], key=lambda node: node.port)
    with connect_postgres(nodes[0].url, database="postgres") as connection:
        citus = has_citus(connection)
    return Cluster(tuple(nodes), citus, name, servers)


def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Return the single value of a query."""
    [[only]] = rows(connection, query, *arguments)
    return only


def rows(connection: Connection, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    return connection.execute(query.encode(), arguments or None, prepare=False).fetchall()
