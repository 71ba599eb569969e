"""The listed differences that no scenario shows are shown here, on both engines."""

from __future__ import annotations

import psycopg
import pytest

from tests.e2e.conformance.databases import Cluster, Connection, Database, rows, value
from tests.e2e.conformance.query_tasks import tasks

pytestmark = pytest.mark.servers


def _fill(connection: Connection) -> None:
    """Make table ``t`` with key ``k``, on four shards, with twenty rows."""
    connection.execute("CREATE TABLE t (k int PRIMARY KEY, v int)")
    connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 4)")
    connection.execute("INSERT INTO t SELECT g, 0 FROM generate_series(1, 20) g")


def _sqlstate(connection: Connection, command: str) -> str | None:
    """Run a command and return the sqlstate of its error, ``None`` if there is none."""
    try:
        connection.execute(command.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_a_whole_table_is_copied_out_by_a_query(cluster: Cluster, database: Database) -> None:
    """``COPY (SELECT …) TO`` works on both engines, ``COPY table TO`` on genuine Citus alone."""
    with database.connect() as connection:
        _fill(connection)
        with connection.cursor().copy("COPY (SELECT k, v FROM t) TO STDOUT") as lines:
            assert sum(1 for _ in lines.rows()) == 20
        refused = _sqlstate(connection, "COPY t TO '/dev/null'")
        assert refused == (None if cluster.citus else "42809")


def test_a_row_that_was_changed_meanwhile_is_to_be_tried_again(
    cluster: Cluster, database: Database
) -> None:
    """Here the second writer, who began before the first one's commit, gets 40001."""
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
    """With the key given, each table's shard is read by itself here; on Citus both in one task."""
    with database.connect() as connection:
        for table in ("a", "b"):
            connection.execute(f"CREATE TABLE {table} (k varchar PRIMARY KEY)".encode())
            connection.execute(
                f"SELECT create_distributed_table('{table}', 'k', shard_count => 4)".encode()
            )
        found = tasks(connection, "SELECT * FROM a JOIN b USING (k) WHERE a.k = 'x'")
        assert len(found) == (1 if cluster.citus else 2)


def test_the_last_step_of_an_aggregate_is_taken_on_the_coordinator(database: Database) -> None:
    """``count(*)`` asks every shard and is right, whoever adds up."""
    with database.connect() as connection:
        _fill(connection)
        assert len(tasks(connection, "SELECT count(*) FROM t")) == 4
        assert value(connection, "SELECT count(*) FROM t") == 20


_REFUSED_HERE = {
    "a table without a key": "SELECT create_distributed_table('plain', NULL)",
    "a partitioned table": "SELECT create_distributed_table('parted', 'k')",
    "too many shards": "SELECT create_distributed_table('plain', 'k', shard_count => 4097)",
}


@pytest.mark.parametrize("command", _REFUSED_HERE.values(), ids=_REFUSED_HERE)
def test_what_no_lesson_needs_is_refused_with_a_sentence(
    command: str, cluster: Cluster, database: Database
) -> None:
    """The table stays a plain one, and the message is no internal error."""
    if cluster.citus:
        pytest.skip("genuine Citus can do it")
    with database.connect() as connection:
        connection.execute("CREATE TABLE plain (k int)")
        connection.execute("CREATE TABLE parted (k int) PARTITION BY RANGE (k)")
        assert _sqlstate(connection, command) == "0A000"
        assert value(connection, "SELECT count(*) FROM citus_tables") == 0


def test_writers_wait_for_a_move_and_find_it_done(database: Database) -> None:
    """A move is complete when its call returns: one placement per shard, all rows there."""
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
