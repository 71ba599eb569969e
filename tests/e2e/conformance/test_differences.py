"""Tests of the listed differences that no scenario shows, on both engines."""

from __future__ import annotations

import psycopg
import pytest

from tests.e2e.conformance.databases import Cluster, Connection, Database, rows, value
from tests.e2e.conformance.query_tasks import tasks

pytestmark = pytest.mark.servers


def _fill(connection: Connection) -> None:
    """Create table ``t`` with key ``k``, four shards and twenty rows."""
    connection.execute("CREATE TABLE t (k int PRIMARY KEY, v int)")
    connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 4)")
    connection.execute("INSERT INTO t SELECT g, 0 FROM generate_series(1, 20) g")


def _sqlstate(connection: Connection, command: str) -> str | None:
    """Return the sqlstate of a command's error, or ``None`` if it succeeds."""
    try:
        connection.execute(command.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_copy_to_works_with_a_query(cluster: Cluster, database: Database) -> None:
    """``COPY (SELECT …) TO`` works on both engines, ``COPY table TO`` only on genuine Citus."""
    with database.connect() as connection:
        _fill(connection)
        with connection.cursor().copy("COPY (SELECT k, v FROM t) TO STDOUT") as lines:
            assert sum(1 for _ in lines.rows()) == 20
        refused = _sqlstate(connection, "COPY t TO '/dev/null'")
        assert refused == (None if cluster.citus else "42809")


def test_a_concurrent_update_of_a_row_fails_with_40001(
    cluster: Cluster, database: Database
) -> None:
    """The second transaction, which started before the first one's commit, gets the error."""
    with database.connect() as first, database.connect() as second:
        _fill(first)
        second.execute("BEGIN")
        assert rows(second, "SELECT v FROM t WHERE k = 1") == [(0,)]
        first.execute("UPDATE t SET v = v + 1 WHERE k = 1")
        refused = _sqlstate(second, "UPDATE t SET v = v + 1 WHERE k = 1")
        assert refused == (None if cluster.citus else "40001")
        second.execute("COMMIT")
        if refused:
            second.execute("UPDATE t SET v = v + 1 WHERE k = 1")
        assert rows(first, "SELECT v FROM t WHERE k = 1") == [(2,)]


def test_a_join_on_varchar_keys_takes_two_tasks(cluster: Cluster, database: Database) -> None:
    """Each table's shard is a task on the teaching cluster; on Citus one task reads both."""
    with database.connect() as connection:
        for table in ("a", "b"):
            connection.execute(f"CREATE TABLE {table} (k varchar PRIMARY KEY)".encode())
            connection.execute(
                f"SELECT create_distributed_table('{table}', 'k', shard_count => 4)".encode()
            )
        found = tasks(connection, "SELECT * FROM a JOIN b USING (k) WHERE a.k = 'x'")
        assert len(found) == (1 if cluster.citus else 2)


def test_count_reads_every_shard(database: Database) -> None:
    """``count(*)`` is one task for each shard, wherever the sum is computed."""
    with database.connect() as connection:
        _fill(connection)
        assert len(tasks(connection, "SELECT count(*) FROM t")) == 4
        assert value(connection, "SELECT count(*) FROM t") == 20


_UNSUPPORTED = {
    "a table without a key": "SELECT create_distributed_table('plain', NULL)",
    "a partitioned table": "SELECT create_distributed_table('partitioned', 'k')",
    "too many shards": "SELECT create_distributed_table('plain', 'k', shard_count => 4097)",
    "a range": "SELECT create_distributed_table('plain', 'k', 'range')",
    "shards on the coordinator": (
        "SELECT citus_set_node_property(nodename, nodeport, 'shouldhaveshards', true) "
        "FROM pg_dist_node WHERE groupid = 0"
    ),
}

_CITUS_ONLY = (
    "SELECT isolate_tenant_to_new_shard('t', 1)",
    "SELECT * FROM citus_stat_tenants",
    "SELECT citus_schema_distribute('public')",
    "SELECT create_distributed_function('f(int)')",
    "SELECT citus_copy_shard_placement(1, 2, 3)",
    "CREATE TABLE c (k int) USING columnar",
)

_CHANGES_OF_A_PARTITIONED_TABLE = {
    "columns and keys": "ALTER TABLE t ADD COLUMN w int, ADD UNIQUE (k, w)",
    "storage": "ALTER TABLE t SET (fillfactor = 50)",
    "inheritance": "CREATE TABLE c () INHERITS (t)",
    "key": "ALTER TABLE t ALTER COLUMN k TYPE bigint",
}


@pytest.mark.parametrize("command", _UNSUPPORTED.values(), ids=_UNSUPPORTED)
def test_unsupported_features_are_refused_with_feature_not_supported(
    command: str, cluster: Cluster, database: Database
) -> None:
    """The table stays plain, and the error is not an internal one."""
    if cluster.citus:
        pytest.skip("genuine Citus supports it")
    with database.connect() as connection:
        connection.execute("CREATE TABLE plain (k int)")
        connection.execute("CREATE TABLE partitioned (k int) PARTITION BY RANGE (k)")
        assert _sqlstate(connection, command) == "0A000"
        assert value(connection, "SELECT count(*) FROM citus_tables") == 0


@pytest.mark.parametrize("command", _CITUS_ONLY)
def test_what_needs_genuine_citus_does_not_exist(
    command: str, cluster: Cluster, database: Database
) -> None:
    """The error is that of an unknown function, relation or access method."""
    if cluster.citus:
        pytest.skip("genuine Citus has it")
    with database.connect() as connection:
        assert _sqlstate(connection, command) in ("42883", "42P01", "42704")


@pytest.mark.parametrize(
    "command",
    _CHANGES_OF_A_PARTITIONED_TABLE.values(),
    ids=_CHANGES_OF_A_PARTITIONED_TABLE,
)
def test_what_a_partitioned_table_cannot_have_is_refused(
    command: str, cluster: Cluster, database: Database
) -> None:
    """Neither the table nor its shards change."""
    if cluster.citus:
        pytest.skip("genuine Citus does not partition the table")
    with database.connect() as connection:
        _fill(connection)
        assert _sqlstate(connection, command) is not None
        assert rows(connection, "SELECT * FROM t WHERE k = 1") == [(1, 0)]


def test_defaults_can_be_changed_with_only(database: Database) -> None:
    """pg_dump writes such commands."""
    with database.connect() as connection:
        _fill(connection)
        connection.execute("ALTER TABLE ONLY t ALTER COLUMN v SET DEFAULT 7")
        connection.execute("INSERT INTO t VALUES (30)")
        assert rows(connection, "SELECT v FROM t WHERE k = 30") == [(7,)]


@pytest.mark.parametrize("command", ["REINDEX TABLE t", "CLUSTER t USING t_pkey", "VACUUM FULL t"])
def test_maintenance_does_not_reach_the_shards(
    command: str, cluster: Cluster, database: Database
) -> None:
    """On genuine Citus, ``REINDEX`` and ``VACUUM`` do."""
    files = "SELECT * FROM run_command_on_shards('t', $$SELECT pg_relation_filenode('%s'::regclass)"
    if cluster.citus:
        pytest.skip("genuine Citus sends it to the shards")
    with database.connect() as connection:
        _fill(connection)
        before = rows(connection, files + "$$)")
        connection.execute(command.encode())
        assert rows(connection, files + "$$)") == before


def test_a_view_from_before_the_distribution_reads_all_rows(database: Database) -> None:
    """ONLY is removed from its definition; of another table, it stays."""
    with database.connect() as connection:
        connection.execute("CREATE TABLE other (k int)")
        connection.execute("CREATE TABLE more () INHERITS (other)")
        connection.execute("CREATE TABLE d (k int PRIMARY KEY)")
        connection.execute("INSERT INTO d VALUES (1), (2)")
        connection.execute("INSERT INTO more VALUES (1)")
        connection.execute(
            "CREATE VIEW v AS SELECT count(*) AS all, "
            "(SELECT count(*) FROM ONLY other) AS few FROM ONLY d"
        )
        connection.execute("SELECT create_distributed_table('d', 'k', shard_count => 2)")
        assert rows(connection, "SELECT * FROM v") == [(2, 0)]


def test_a_reference_table_takes_upserts_on_every_unique_key(database: Database) -> None:
    """Of a column, a partial expression and with NULL as a value; the copies are the same."""
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE r (k int PRIMARY KEY, v text UNIQUE, m int UNIQUE NULLS NOT DISTINCT)"
        )
        connection.execute("CREATE UNIQUE INDEX lowered ON r (lower(v)) WHERE k > 0")
        connection.execute("INSERT INTO r VALUES (1, 'A', NULL), (2, 'B', 2)")
        connection.execute("SELECT create_reference_table('r')")
        for upsert in (
            "(3, 'A', 3) ON CONFLICT (v) DO UPDATE SET k = r.k + excluded.k * 10 RETURNING k",
            "(4, 'C', NULL) ON CONFLICT (m) DO UPDATE SET k = 31 RETURNING k",
            "(4, 'a', 4) ON CONFLICT (lower(v)) WHERE k > 0 DO UPDATE SET k = 31 RETURNING k",
        ):
            assert rows(connection, f"INSERT INTO r VALUES {upsert}") == [(31,)]
        connection.execute("INSERT INTO r VALUES (4, 'B', 4) ON CONFLICT (v) DO NOTHING")
        copies = rows(
            connection,
            "SELECT DISTINCT result FROM run_command_on_placements('r', "
            "$$SELECT string_agg(k || v, ' ' ORDER BY k) FROM %s$$)",
        )
        assert copies == [("2B 31A",)]
        connection.execute("CREATE TABLE child (k int PRIMARY KEY, v text REFERENCES r (v))")
        connection.execute("SELECT create_distributed_table('child', 'k', shard_count => 2)")
        assert _sqlstate(connection, "INSERT INTO child VALUES (1, 'C')") == "23503"
        connection.execute("INSERT INTO child VALUES (1, 'A')")
        connection.execute("SELECT undistribute_table('r', cascade_via_foreign_keys => true)")
        assert _sqlstate(connection, "INSERT INTO r VALUES (5, 'B', 5)") == "23505"


def test_a_move_is_complete_when_the_call_returns(database: Database) -> None:
    """There is one placement for the shard, and all rows are there."""
    with database.connect() as connection:
        _fill(connection)
        shard = value(connection, "SELECT min(shardid) FROM pg_dist_shard")
        connection.execute(
            f"SELECT citus_move_shard_placement({shard}, {database.address(1)}, "
            f"{database.address(2)}, 'block_writes')".encode()
        )
        placed = f"SELECT nodeport FROM pg_dist_shard_placement WHERE shardid = {shard}"
        assert rows(connection, placed) == [(database.ports[2],)]
        assert value(connection, "SELECT count(*) FROM t") == 20
