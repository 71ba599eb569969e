"""A table is distributed in place with all that it has, or not at all."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conformance.databases import Cluster, Connection, Database, rows, value

pytestmark = pytest.mark.servers

_TABLE = (
    """
    CREATE TABLE items (
        id bigserial, sku text NOT NULL, price numeric(10,2) DEFAULT 1.50, note varchar(40),
        made timestamptz DEFAULT '2025-01-01', owner int,
        CONSTRAINT items_key PRIMARY KEY (id), CONSTRAINT items_sku UNIQUE (id, sku),
        CONSTRAINT items_price CHECK (price >= 0)
    )
    """,
    "CREATE INDEX items_note ON items (lower(note)) WHERE note IS NOT NULL",
    "COMMENT ON TABLE items IS 'what is sold'",
    "COMMENT ON COLUMN items.sku IS 'stock-keeping unit'",
    """
    INSERT INTO items (sku, note, owner)
    SELECT 'sku ' || g, nullif('note ' || g % 5, 'note 0'), nullif(g % 50, 0)
    FROM generate_series(1, 500) g
    """,
)
_DISTRIBUTE = "SELECT create_distributed_table('items', 'id', shard_count => 6)"


def _make(connection: Connection) -> None:
    for command in _TABLE:
        connection.execute(command.encode())


def _described(connection: Connection) -> dict[str, Any]:
    """Return all that a user sees of table ``items``."""
    queries = {
        "rows": "SELECT * FROM items ORDER BY id",
        "columns": "SELECT attname, format_type(atttypid, atttypmod), attnotnull, "
        "pg_get_expr(adbin, adrelid) FROM pg_attribute "
        "LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
        "WHERE attrelid = 'items'::regclass AND attnum > 0 ORDER BY attnum",
        "constraints": "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = 'items'::regclass AND contype IN ('p', 'u', 'c') ORDER BY 1",
        "indexes": "SELECT indexname, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes "
        "WHERE tablename = 'items' ORDER BY 1",
        "comments": "SELECT obj_description('items'::regclass, 'pg_class'), "
        "col_description('items'::regclass, 2)",
        "sequence": "SELECT pg_get_serial_sequence('items', 'id'), last_value FROM items_id_seq",
    }
    return {name: rows(connection, query) for name, query in queries.items()}


def _identity(connection: Connection) -> list[tuple[Any, ...]]:
    """Return what tells one plain table from another."""
    return rows(connection, "SELECT oid, relkind FROM pg_class WHERE oid = 'items'::regclass")


def _left_on_workers(database: Database, workers: tuple[int, ...]) -> int:
    """Count the tables whose names begin as those of the shards."""
    count = 0
    for worker in workers:
        with database.connect(worker) as connection:
            connection.execute("SET citus.override_table_visibility = off")  # or Citus hides them
            count += value(
                connection,
                "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'items\\_1%'",
            )
    return count


def test_a_table_is_distributed_with_all_that_it_has(database: Database) -> None:
    """Rows, defaults, constraints, indexes, comments and the sequence are there afterwards."""
    with database.connect() as connection:
        _make(connection)
        before = _described(connection)
        connection.execute(_DISTRIBUTE)
        assert _described(connection) == before
        assert value(connection, "INSERT INTO items (sku) VALUES ('new') RETURNING id") == 501
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO items (id, sku) VALUES (7, 'again')")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO items (sku, price) VALUES ('cheap', -1)")
        assert _left_on_workers(database, (1, 2)) == 6


def test_a_table_is_undistributed_with_all_that_it_has(
    cluster: Cluster, database: Database
) -> None:
    """There and back again, nothing is lost and nothing stays on the workers."""
    with database.connect() as connection:
        _make(connection)
        before = _described(connection)
        connection.execute(_DISTRIBUTE)
        connection.execute("SELECT undistribute_table('items')")
        after = _described(connection)
        if cluster.citus:
            after["comments"] = before["comments"]  # these alone Citus loses here
        assert after == before
        assert value(connection, "INSERT INTO items (sku) VALUES ('new') RETURNING id") == 501
        assert value(connection, "SELECT count(*) FROM citus_tables") == 0
        assert _left_on_workers(database, (1, 2)) == 0


# Commands that must fail; the table violates what each of them asks for.
_REFUSED = {
    "a key that the primary key lacks": "SELECT create_distributed_table('items', 'sku')",
    "a key that is null in some rows": "SELECT create_distributed_table('items', 'owner')",
    "no such column": "SELECT create_distributed_table('items', 'nowhere')",
    "no such table to follow": "SELECT create_distributed_table('items', 'id', "
    "colocate_with => 'nothing')",
    "no shards": "SELECT create_distributed_table('items', 'id', shard_count => 0)",
}


@pytest.mark.parametrize("command", _REFUSED.values(), ids=_REFUSED)
def test_a_table_that_cannot_be_distributed_stays_as_it_was(
    command: str, database: Database
) -> None:
    """It is the same plain table, and nothing is left on the workers."""
    with database.connect() as connection:
        _make(connection)
        if "'owner'" in command:
            connection.execute("ALTER TABLE items DROP CONSTRAINT items_key")
            connection.execute("ALTER TABLE items DROP CONSTRAINT items_sku")
        _check_refused(connection, command)
        assert _left_on_workers(database, (1, 2)) == 0


def test_a_name_that_is_taken_on_a_worker_stops_the_distribution(database: Database) -> None:
    """Where the fourth of six shards cannot be made, the other five are not there either."""
    with database.connect() as connection, database.connect(2) as worker:
        _make(connection)
        connection.execute("CREATE TABLE first (k int)")
        connection.execute("SELECT create_distributed_table('first', 'k', shard_count => 1)")
        next_shard = value(connection, "SELECT max(shardid)::int FROM pg_dist_shard") + 1
        worker.execute(f"CREATE TABLE items_{next_shard + 3} (mine int)".encode())
        _check_refused(connection, _DISTRIBUTE)
        assert _left_on_workers(database, (1, 2)) == 1, "the one that was there before"
        assert rows(worker, f"SELECT mine FROM items_{next_shard + 3}") == []


def test_a_distribution_that_is_rolled_back_never_was(database: Database) -> None:
    """The table's rows, its identity and the workers are as they were before the transaction."""
    with database.connect() as connection:
        _make(connection)
        before = (_described(connection), _identity(connection))
        with connection.transaction(force_rollback=True):
            connection.execute(_DISTRIBUTE)
            connection.execute("UPDATE items SET price = 7 WHERE id = 3")
        assert (_described(connection), _identity(connection)) == before
        assert value(connection, "SELECT count(*) FROM citus_tables") == 0
        assert _left_on_workers(database, (1, 2)) == 0


def test_a_dead_worker_stops_the_distribution_and_hides_its_own_shards_alone(
    cluster: Cluster, database: Database
) -> None:
    """Other shards are read and written as before; what needs the worker says that it is gone."""
    with database.connect() as connection:
        _make(connection)
        connection.execute("CREATE TABLE t (k int PRIMARY KEY, v text)")
        connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 4)")
        connection.execute("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 50) g")
        connection.execute("CREATE TABLE r (k int PRIMARY KEY)")
        connection.execute("SELECT create_reference_table('r')")
        connection.execute("INSERT INTO r VALUES (1)")
        alive, dead = (_key_on(connection, database.ports[worker]) for worker in (1, 2))
        with cluster.stopped(2):
            for query in ("SELECT count(*) FROM t", f"SELECT v FROM t WHERE k = {dead}"):
                with pytest.raises(psycopg.OperationalError) as refused:
                    connection.execute(query.encode())
                said = f"{refused.value.diag.message_primary} {refused.value.diag.message_detail}"
                assert str(database.ports[2]) in said, "it says which worker"
            connection.execute(f"UPDATE t SET v = 'y' WHERE k = {alive}".encode())
            assert rows(connection, f"SELECT v FROM t WHERE k = {alive}") == [("y",)]
            assert rows(connection, "SELECT k FROM r") == [(1,)]
            _check_refused(connection, _DISTRIBUTE)
            assert _left_on_workers(database, (1,)) == 0
        assert value(connection, "SELECT count(*) FROM t") == 50
        connection.execute(_DISTRIBUTE)
        assert value(connection, "SELECT count(*) FROM items") == 500


def _key_on(connection: Connection, port: int) -> int:
    return int(
        value(
            connection,
            "SELECT min(k) FROM generate_series(1, 50) k "
            "WHERE get_shard_id_for_distribution_column('t', k) IN "
            f"(SELECT shardid FROM pg_dist_shard_placement WHERE nodeport = {port})",
        )
    )


def _check_refused(connection: Connection, command: str) -> None:
    """Run a command that must fail, and see that ``items`` is the plain table that it was."""
    before = (_described(connection), _identity(connection))
    with pytest.raises(psycopg.Error):
        connection.execute(command.encode())
    assert (_described(connection), _identity(connection)) == before
    listed = "SELECT count(*) FROM citus_tables WHERE table_name = 'items'::regclass"
    assert value(connection, listed) == 0


def test_tables_of_one_name_in_two_schemas_leave_each_other_alone(database: Database) -> None:
    """Each can be distributed, and a command that mentions the name changes its own table alone."""
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
