"""Other roles than the owner of the cluster: their own tables, grants and row security."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.e2e.conformance.databases import Cluster, Connection, Database, rows, value

pytestmark = pytest.mark.servers


@pytest.fixture
def session(cluster: Cluster, database: Database) -> Iterator[Connection]:
    """A session of the owner; roles ``conformance_reader`` and ``…_other`` exist meanwhile."""
    if cluster.citus:
        pytest.skip("genuine Citus needs passwords of these roles for its own connections")
    with database.connect() as connection:
        for role in _ROLES:
            connection.execute(f"CREATE ROLE {role}".encode())
        try:
            connection.execute("CREATE SCHEMA own AUTHORIZATION conformance_reader")
            connection.execute("CREATE TABLE t (k int PRIMARY KEY, v text, hidden text)")
            yield connection
        finally:
            connection.execute("RESET ROLE")
            for role in _ROLES:
                connection.execute(f"DROP OWNED BY {role} CASCADE".encode())
                connection.execute(f"DROP ROLE {role}".encode())


_ROLES = ("conformance_reader", "conformance_other")
_DISTRIBUTE = "SELECT create_distributed_table('t', 'k', shard_count => 4)"


def test_a_role_creates_distributes_changes_and_drops_its_own_tables(session: Connection) -> None:
    """The tables are its own afterwards, with their shards' foreign tables."""
    session.execute("SET ROLE conformance_reader")
    for command in (
        "CREATE TABLE own.r (k int PRIMARY KEY)",
        "SELECT create_reference_table('own.r')",
        "INSERT INTO own.r VALUES (1), (2)",
        "CREATE TABLE own.d (k int PRIMARY KEY, r int)",
        "SELECT create_distributed_table('own.d', 'k', shard_count => 4)",
        "INSERT INTO own.d SELECT g, 1 FROM generate_series(1, 9) g",
        "ALTER TABLE own.d ADD COLUMN note text DEFAULT 'x'",
        "ALTER TABLE own.d ADD CONSTRAINT d_r FOREIGN KEY (r) REFERENCES own.r (k)",
        "ALTER TABLE own.d ADD UNIQUE (k, note)",
        "CREATE INDEX ON own.d (note)",
        "UPDATE own.d SET note = 'y' WHERE k = 1",
        "DELETE FROM own.d WHERE k = 2",
    ):
        session.execute(command.encode())
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        session.execute("INSERT INTO own.d VALUES (20, 3)")
    assert value(session, "SELECT count(*) FROM own.d JOIN own.r ON d.r = r.k") == 8
    assert rows(session, "SELECT DISTINCT table_owner, shard_count FROM citus_tables") == [
        ("conformance_reader", 1),
        ("conformance_reader", 4),
    ]
    assert value(session, "SELECT count(*) FROM citus_shards WHERE shard_size > 0") == 7
    session.execute("SELECT undistribute_table('own.d', cascade_via_foreign_keys => true)")
    assert value(session, "SELECT count(*) FROM own.d") == 8
    session.execute("DROP TABLE own.d, own.r")


def test_grants_given_before_and_after_distribution_are_kept(session: Connection) -> None:
    """Of the table, of columns and of views, also after another distribution."""
    session.execute("GRANT SELECT (k, v), INSERT (k, v) ON t TO conformance_reader")
    session.execute("CREATE VIEW seen WITH (security_barrier) AS SELECT hidden FROM t")
    session.execute("GRANT SELECT ON seen TO conformance_reader")
    session.execute(_DISTRIBUTE)
    session.execute("GRANT UPDATE (v) ON t TO conformance_reader")
    session.execute("SELECT alter_distributed_table('t', shard_count => 2)")
    session.execute("SET ROLE conformance_reader")
    session.execute("INSERT INTO t (k, v) VALUES (1, 'a'), (2, 'b')")
    session.execute("UPDATE t SET v = 'c' WHERE k = 1")
    assert rows(session, "SELECT k, v FROM t ORDER BY k") == [(1, "c"), (2, "b")]
    assert rows(session, "SELECT DISTINCT hidden FROM seen") == [(None,)]
    for refused in (
        "SELECT hidden FROM t",
        "DELETE FROM t",
        "TRUNCATE t",
        "ALTER TABLE t ADD COLUMN more int",
        "SELECT undistribute_table('t')",
        "SELECT update_distributed_table_colocation('t', 'none')",
        "SELECT alter_distributed_table('t', shard_count => 8)",
        "SELECT run_command_on_workers('SELECT 1')",
        "SELECT rebalance_table_shards()",
        "SELECT sharding.run_on_node(2, 'SELECT 1')",
        "SELECT * FROM shards.t_102008",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(refused.encode())
    session.execute("RESET ROLE")
    session.execute("REVOKE ALL ON t FROM conformance_reader")
    session.execute("SET ROLE conformance_reader")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("SELECT k FROM t")


def test_a_role_connects_with_its_password(session: Connection) -> None:
    """The shards are read with the creator's password, which the role does not know."""
    session.execute("ALTER ROLE conformance_reader LOGIN PASSWORD 'for a test'")
    session.execute("GRANT SELECT ON t TO conformance_reader")
    session.execute(_DISTRIBUTE)
    session.execute("INSERT INTO t VALUES (1)")
    address = make_conninfo(
        session.info.dsn, user="conformance_reader", password="for a test", options=""
    )
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT k FROM t").fetchall() == [(1,)]


def test_a_new_owner_can_alter_the_table(session: Connection) -> None:
    """The foreign tables of the shards get the new owner too."""
    session.execute(_DISTRIBUTE)
    session.execute("ALTER TABLE t OWNER TO conformance_other")
    session.execute("SET ROLE conformance_other")
    session.execute("ALTER TABLE t ADD COLUMN more int")
    session.execute("INSERT INTO t (k, more) VALUES (1, 2)")
    assert value(session, "SELECT more FROM t") == 2


def test_row_security_filters_what_a_role_reads_and_deletes(session: Connection) -> None:
    """Policies declared before or after distribution apply; writes by such a role are refused."""
    session.execute("GRANT ALL ON t TO conformance_reader")
    session.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    session.execute(
        "CREATE POLICY mine ON t FOR SELECT TO conformance_reader USING (v = current_user)"
    )
    session.execute(_DISTRIBUTE)
    session.execute("CREATE POLICY gone ON t AS PERMISSIVE FOR DELETE USING (k < 3)")
    session.execute("CREATE POLICY new ON t FOR INSERT WITH CHECK (k < 100)")
    session.execute(
        "INSERT INTO t SELECT g, CASE WHEN g <= 5 THEN 'conformance_reader' END "
        "FROM generate_series(1, 9) g"
    )
    session.execute("SET ROLE conformance_reader")
    assert value(session, "SELECT count(*) FROM t") == 5
    assert rows(session, "SELECT k FROM t WHERE k = 9") == []
    session.execute("DELETE FROM t")
    assert rows(session, "SELECT k FROM t ORDER BY k") == [(3,), (4,), (5,)]
    for refused in ("INSERT INTO t VALUES (200)", "UPDATE t SET hidden = 'x'"):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="row security"):
            session.execute(refused.encode())
    session.execute("RESET ROLE")
    session.execute("SELECT undistribute_table('t')")
    session.execute("SET ROLE conformance_reader")
    assert value(session, "SELECT count(*) FROM t") == 3
