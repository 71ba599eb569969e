"""Databases on a cluster: created on every node and joined, with one version of the scripts."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from helpers.citus import cluster_databases
from helpers.citus.cluster_databases import (
    Node,
    create_database,
    drop_database,
    load_scripts,
    prepare_databases,
)
from helpers.errors import StoreError
from helpers.stores.connect import connect_postgres
from tests.e2e.conformance.databases import Cluster, Database, rows, value

pytestmark = pytest.mark.servers


@pytest.fixture
def plain(cluster: Cluster, database: Database) -> Database:
    """A database of a cluster without Citus."""
    if cluster.citus:
        pytest.skip("genuine Citus needs no scripts")
    return database


def test_scripts_are_loaded_once(plain: Database) -> None:
    """Loading them again changes nothing: the tables stay distributed."""
    with plain.connect() as connection:
        connection.execute("CREATE TABLE t (k int PRIMARY KEY)")
        connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 2)")
        load_scripts(connection, "coordinator")
        assert value(connection, "SELECT count(*) FROM citus_shards") == 2


@pytest.mark.parametrize("version", ["'another version'", "NULL"])
def test_scripts_of_another_version_are_refused(version: str, plain: Database) -> None:
    with plain.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(f"COMMENT ON SCHEMA sharding IS {version}".encode())
        with pytest.raises(StoreError, match="another version of this course"):
            load_scripts(connection, "coordinator")


def test_scripts_are_loaded_in_one_transaction(
    cluster: Cluster, plain: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the second script fails, the first is rolled back."""
    files = [tmp_path / name for name in ("01_good.sql", "02_bad.sql")]
    for file, text in zip(files, ("CREATE SCHEMA sharding", "SELECT 1 / 0"), strict=True):
        file.write_text(text, "utf-8")
    monkeypatch.setattr(cluster_databases, "scripts", lambda *_: files)
    with (
        connect_postgres(cluster.nodes[0].url, database="postgres") as connection,
        connection.transaction(force_rollback=True),
    ):
        with pytest.raises(psycopg.errors.DivisionByZero):
            load_scripts(connection, "coordinator")
        assert value(connection, "SELECT to_regnamespace('sharding')") is None


def test_a_database_is_created_joined_and_dropped_on_every_node(cluster: Cluster) -> None:
    """Creating or dropping it again changes nothing."""
    name = f"{cluster.name}_created"
    nodes = cluster.nodes[:3]
    try:
        for _ in range(2):
            create_database(nodes, name, citus=cluster.citus)
            assert _has_database(nodes, name) == [True, True, True]
            with connect_postgres(nodes[0].url, database=name) as connection:
                registered = rows(connection, "SELECT nodeport FROM pg_dist_node ORDER BY nodeid")
                assert registered == [(node.port,) for node in nodes]
    finally:
        for _ in range(2):
            drop_database(cluster.nodes, name)
    assert _has_database(nodes, name) == [False, False, False]


def test_the_error_names_an_unavailable_node(cluster: Cluster) -> None:
    """Other nodes may have the database by then; drop_database drops it on the coordinator."""
    name = f"{cluster.name}_unavailable"
    first, second = cluster.nodes[:2]
    unavailable = replace(second, url=second.url.replace(f":{second.port}/", ":1/"))
    try:
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/.*nobody listens there"):
            prepare_databases([first, unavailable], name, citus=cluster.citus)
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/"):
            drop_database([first, unavailable], name)
        assert _has_database([first], name) == [False]
    finally:
        with contextlib.suppress(StoreError):
            drop_database([first], name)


def _has_database(nodes: tuple[Node, ...] | list[Node], name: str) -> list[bool]:
    """Return whether each node has the database."""
    found = []
    for node in nodes:
        with connect_postgres(node.url, database="postgres") as connection:
            query = "SELECT count(*) FROM pg_database WHERE datname = %s"
            found.append(value(connection, query, name) == 1)
    return found
