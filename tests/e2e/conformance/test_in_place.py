"""A table is distributed in place with everything that belongs to it, or not at all."""

from __future__ import annotations

import psycopg
import pytest

from tests.e2e.conformance.databases import Cluster, Database, rows, value
from tests.e2e.conformance.items_table import (
    DISTRIBUTE,
    check_refused,
    described,
    identity,
    make_items,
    shards_on_workers,
)

pytestmark = pytest.mark.servers


def test_distributing_keeps_rows_constraints_indexes_and_comments(database: Database) -> None:
    """Defaults and the sequence are kept too."""
    with database.connect() as connection:
        make_items(connection)
        before = described(connection)
        connection.execute(DISTRIBUTE)
        assert described(connection) == before
        assert value(connection, "INSERT INTO items (sku) VALUES ('new') RETURNING id") == 501
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO items (id, sku) VALUES (7, 'again')")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO items (sku, price) VALUES ('cheap', -1)")
        assert shards_on_workers(database, (1, 2)) == 6


def test_undistributing_restores_the_table(cluster: Cluster, database: Database) -> None:
    """The table is as before it was distributed, and no shard is left on the workers."""
    with database.connect() as connection:
        make_items(connection)
        before = described(connection)
        connection.execute(DISTRIBUTE)
        connection.execute("SELECT undistribute_table('items')")
        after = described(connection)
        if cluster.citus:
            after["comments"] = before["comments"]  # Citus loses only these
        assert after == before
        assert value(connection, "INSERT INTO items (sku) VALUES ('new') RETURNING id") == 501
        assert value(connection, "SELECT count(*) FROM citus_tables") == 0
        assert shards_on_workers(database, (1, 2)) == 0


# Commands that must fail.
_REFUSED = {
    "a key that is not in the primary key": "SELECT create_distributed_table('items', 'sku')",
    "a key that is null in some rows": "SELECT create_distributed_table('items', 'owner')",
    "no such column": "SELECT create_distributed_table('items', 'nowhere')",
    "no such table to follow": "SELECT create_distributed_table('items', 'id', "
    "colocate_with => 'nothing')",
    "no shards": "SELECT create_distributed_table('items', 'id', shard_count => 0)",
}


@pytest.mark.parametrize("command", _REFUSED.values(), ids=_REFUSED)
def test_a_refused_distribution_does_not_change_the_table(command: str, database: Database) -> None:
    """It is the same plain table, and no shard is left on the workers."""
    with database.connect() as connection:
        make_items(connection)
        if "'owner'" in command:
            connection.execute("ALTER TABLE items DROP CONSTRAINT items_key")
            connection.execute("ALTER TABLE items DROP CONSTRAINT items_sku")
        check_refused(connection, command)
        assert shards_on_workers(database, (1, 2)) == 0


def test_alter_refuses_a_key_that_is_not_in_the_primary_key(database: Database) -> None:
    """The table stays distributed by its present key."""
    with database.connect() as connection:
        make_items(connection)
        connection.execute(DISTRIBUTE)
        before = described(connection)
        with pytest.raises(psycopg.Error, match="cannot create constraint on"):
            connection.execute(
                "SELECT alter_distributed_table('items', distribution_column => 'owner')"
            )
        assert described(connection) == before
        keys = rows(connection, "SELECT distribution_column, shard_count FROM citus_tables")
        assert keys == [("id", 6)]
        assert shards_on_workers(database, (1, 2)) == 6


def test_a_shard_name_in_use_on_a_worker_stops_the_distribution(database: Database) -> None:
    """If the fourth of six shards cannot be created, the others are rolled back."""
    with database.connect() as connection, database.connect(2) as worker:
        make_items(connection)
        connection.execute("CREATE TABLE first (k int)")
        connection.execute("SELECT create_distributed_table('first', 'k', shard_count => 1)")
        next_shard = value(connection, "SELECT max(shardid)::int FROM pg_dist_shard") + 1
        worker.execute(f"CREATE TABLE items_{next_shard + 3} (existing int)".encode())
        check_refused(connection, DISTRIBUTE)
        assert shards_on_workers(database, (1, 2)) == 1, "only the existing table"
        assert rows(worker, f"SELECT existing FROM items_{next_shard + 3}") == []


def test_rollback_undoes_a_distribution(database: Database) -> None:
    """The table's rows and OID, and the workers, are as before the transaction."""
    with database.connect() as connection:
        make_items(connection)
        before = (described(connection), identity(connection))
        with connection.transaction(force_rollback=True):
            connection.execute(DISTRIBUTE)
            connection.execute("UPDATE items SET price = 7 WHERE id = 3")
        assert (described(connection), identity(connection)) == before
        assert value(connection, "SELECT count(*) FROM citus_tables") == 0
        assert shards_on_workers(database, (1, 2)) == 0


def test_tables_of_the_same_name_in_two_schemas_are_independent(database: Database) -> None:
    """Both can be distributed, and a command changes only the table that it names."""
    with database.connect() as connection:
        for schema in ("a", "b"):
            connection.execute(f"CREATE SCHEMA {schema}".encode())
            connection.execute(f"CREATE TABLE {schema}.t (k int PRIMARY KEY, v int)".encode())
            connection.execute(
                f"SELECT create_distributed_table('{schema}.t', 'k', shard_count => 2)".encode()
            )
        connection.execute("ALTER TABLE b.t ADD CONSTRAINT t_v UNIQUE (k, v)")
        connection.execute("CREATE TABLE t (k int PRIMARY KEY)")
        found = rows(
            connection, "SELECT conrelid::regclass::text FROM pg_constraint WHERE conname = 't_v'"
        )
        assert found == [("b.t",)]
