"""A cluster of a test module's own, and databases on it that know no worker yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from helpers.servers import EmbeddedServers
from helpers.servers.server import Server
from helpers.settings import Settings, load_settings
from helpers.stores.cluster import Node, drop_database, has_citus, make_ready, nodes_of
from helpers.stores.connect import connect_postgres
from tests.servers.driving import temporary_home

Connection = psycopg.Connection[tuple[Any, ...]]

# What is no answer must not get in the way, and times must read the same everywhere.
_OPTIONS = "-c client_min_messages=error -c timezone=UTC"


@dataclass(frozen=True)
class Database:
    """One database on every node; ``nodes`` is the coordinator, then the workers by port."""

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
        """Make a cluster of the coordinator and the first ``workers`` workers."""
        with self.connect() as connection:
            connection.execute(f"SELECT citus_set_coordinator_host({self.address(0)})")
            for worker in range(1, workers + 1):
                connection.execute(f"SELECT citus_add_node({self.address(worker)})")


@dataclass(frozen=True)
class Cluster:
    """Four nodes; the one with the lowest port is the coordinator, as in the transcripts."""

    servers: EmbeddedServers
    nodes: tuple[Node, ...] = field(repr=False)
    citus: bool
    _numbers: Iterator[int] = field(default_factory=count)

    @contextlib.contextmanager
    def database(self, workers: int = 0) -> Iterator[Database]:
        """Give an empty database with ``workers`` workers registered; drop it afterwards."""
        database = Database(self.nodes, f"conformance_{next(self._numbers)}")
        for node in self.nodes:
            make_ready(node, database.name, citus=self.citus, coordinator=node is self.nodes[0])
        try:
            if workers:
                database.register(workers)
            yield database
        finally:
            drop_database(self.nodes, database.name)

    @contextlib.contextmanager
    def stopped(self, node: int) -> Iterator[None]:
        """Keep one node stopped for a while."""
        self._server(node).stop()
        try:
            yield
        finally:
            self.servers.up()

    def _server(self, node: int) -> Server:
        names = ["coordinator", "worker1", "worker2", "worker3"]
        servers = [self.servers.server(name) for name in names]
        return next(server for server in servers if server.port == self.nodes[node].port)


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run a coordinator and three workers for a while, with Citus if PG_BINDIR has it."""
    with temporary_home() as home:
        settings = Settings(home, pg_bindir=load_settings().pg_bindir, durable=False)
        servers = EmbeddedServers(settings)
        try:
            addresses = servers.up(workers=3)
            # Each of them can be the coordinator of a database, so the order is ours to choose.
            nodes = sorted(nodes_of(addresses), key=lambda node: node.port)
            with connect_postgres(nodes[0].url, database="postgres") as connection:
                citus = has_citus(connection)
            yield Cluster(servers, tuple(nodes), citus)
        finally:
            servers.reset()


def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Return the only value that a query answers."""
    [[only]] = rows(connection, query, *arguments)
    return only


def rows(connection: Connection, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Return the rows that a query answers."""
    return connection.execute(query.encode(), arguments or None, prepare=False).fetchall()
