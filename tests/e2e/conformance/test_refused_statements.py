"""Statements that the teaching cluster cannot execute get a sentence, never a wrong result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from tests.e2e.conformance.databases import Cluster, Connection, Database, rows, value

pytestmark = pytest.mark.servers

_MERGE = (
    "MERGE INTO {} t USING (VALUES (1, 'm')) s(k, v) ON t.k = s.k "
    "WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)"
)

# On the distributed table t and the reference table r, each with two rows.
_REFUSED = {
    "select": "SELECT count(*) FROM ONLY t",
    "parentheses and quotes": 'SELECT count(*) FROM only ( public . "t" ) AS x',
    "joined": "SELECT count(*) FROM t JOIN ONLY t AS x USING (k)",
    "reference table": "SELECT count(*) FROM ONLY r",
    "update": "UPDATE ONLY t SET v = 'x'",
    "delete": "WITH gone AS (DELETE FROM ONLY t RETURNING k) SELECT count(*) FROM gone",
    "delete of reference rows": "DELETE FROM ONLY r",
    "copy": "COPY (SELECT * FROM ONLY t) TO '/dev/null'",
    "block": "DO $$ BEGIN PERFORM FROM ONLY t; END $$",
    "function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT k FROM ONLY t $$",
    "function whose body is a string": (
        "CREATE OR REPLACE FUNCTION f() RETURNS SETOF int LANGUAGE sql STABLE "
        "AS 'SELECT k FROM ONLY t'"
    ),
    "name in Unicode escapes": r'SELECT count(*) FROM ONLY U&"\0074"',
    "after a name with an apostrophe": (
        """SELECT count(*) AS "what's up" FROM ONLY t WHERE v <> ''"""
    ),
    "after an escaped apostrophe": r"SELECT E'it\'s' FROM ONLY t WHERE v <> ''",
    "after a string in dollars": "SELECT $a$it's$a$, $$it's$$ FROM ONLY t WHERE v <> ''",
    "after a comment": "SELECT /* don't **/ k FROM ONLY t WHERE v <> ''",
    "expression in a block": (
        "DO $$ BEGIN IF (SELECT count(*) FROM ONLY t) = 0 THEN NULL; END IF; END $$"
    ),
    "view": "CREATE VIEW v AS SELECT * FROM ONLY t",
    "view without rows": "CREATE MATERIALIZED VIEW v AS TABLE ONLY t WITH NO DATA",
    "rule": "CREATE RULE v AS ON INSERT TO plain DO ALSO DELETE FROM ONLY t",
    "policy": "CREATE POLICY v ON plain USING (EXISTS (SELECT FROM ONLY t))",
    "alter table": "ALTER TABLE ONLY t ADD COLUMN note text",
    "using": "ALTER TABLE t ALTER v TYPE int USING 1",
    "using on a reference table": "ALTER TABLE r ALTER COLUMN v SET DATA TYPE int USING 1",
    "conflict on columns": "INSERT INTO t VALUES (1, 'x') ON CONFLICT (k) DO NOTHING",
    "conflict after a semicolon in a string": (
        r"INSERT INTO t VALUES (1, E'\';' || $$;$$) ON CONFLICT (k) DO NOTHING"
    ),
    "conflict on a constraint": (
        "INSERT INTO t AS x VALUES (1, 'x') ON CONFLICT ON CONSTRAINT t_pkey "
        "DO UPDATE SET v = excluded.v WHERE x.v <> excluded.v RETURNING v"
    ),
    "conflict in a block": (
        "DO $$ BEGIN INSERT INTO t SELECT 1 ON CONFLICT (k) DO UPDATE SET v = 'x'; END $$"
    ),
    "merge": _MERGE.format("t"),
    "sample": "SELECT count(*) FROM t AS x TABLESAMPLE BERNOULLI (0)",
    "skip locked": "SELECT k FROM t WHERE k = 1 FOR UPDATE SKIP LOCKED",
    "nowait": "SELECT k FROM t WHERE k = 1 FOR NO KEY UPDATE OF t NOWAIT",
    "system column": "SELECT xmin FROM t WHERE k = 1",
}

# The same words, where they do no harm.
_EXECUTED = {
    "string": ("SELECT count(*) FROM t WHERE v <> 'SELECT FROM ONLY t'", 2),
    "escaped string": (r"SELECT count(*) FROM t WHERE v <> E'\' FROM ONLY t'", 2),
    "string in dollars": ("SELECT count(*) FROM t WHERE v <> $$FROM ONLY t$$ || $a$ONLY t$a$", 2),
    "comment": ("SELECT count(*) /* FROM ONLY t */ FROM t", 2),
    "local table": ("SELECT count(*) FROM ONLY plain, t", 2),
    "column": ("SELECT count(*) FROM t WHERE v || 'xmin' <> 'merge into t'", 2),
    "conflict without target": (
        (
            "WITH added AS (INSERT INTO t VALUES (1, 'on conflict (k)') ON CONFLICT DO NOTHING "
            "RETURNING k) SELECT count(*) FROM added"
        ),
        0,
    ),
    "conflict on a local table": (
        (
            "WITH added AS (INSERT INTO plain SELECT k FROM t ON CONFLICT (k) DO UPDATE SET k = 1 "
            "RETURNING k) SELECT count(*) FROM added WHERE k > 2"
        ),
        0,
    ),
    "upsert of a reference row": (
        (
            "WITH changed AS (INSERT INTO r VALUES (1, 'a') ON CONFLICT (k) DO UPDATE "
            "SET v = excluded.v RETURNING v) SELECT count(*) FROM changed"
        ),
        1,
    ),
    "sample of a reference table": ("SELECT count(*) FROM r TABLESAMPLE BERNOULLI (0)", 0),
    "lock": ("SELECT count(*) FROM (SELECT FROM t WHERE k = 1 FOR UPDATE) locked", 1),
}


@pytest.fixture(scope="module")
def session(two_workers: Database) -> Iterator[Connection]:
    """A session with a distributed table, a reference table and a local one."""
    two_workers.empty()
    with two_workers.connect() as connection:
        for table in ("t", "r"):
            connection.execute(f"CREATE TABLE {table} (k int PRIMARY KEY, v text)".encode())
        connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 2)")
        connection.execute("SELECT create_reference_table('r')")
        for table in ("t", "r"):
            connection.execute(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')".encode())
        connection.execute("CREATE TABLE plain (k int PRIMARY KEY)")
        connection.execute("INSERT INTO plain VALUES (1)")
        yield connection


@pytest.mark.parametrize("statement", _REFUSED.values(), ids=_REFUSED)
def test_a_statement_is_refused_and_the_hint_says_what_to_do(
    statement: str, cluster: Cluster, session: Connection
) -> None:
    """The message names the table and genuine Citus, and nothing has changed."""
    if cluster.citus:
        pytest.skip("genuine Citus executes it")
    with pytest.raises(psycopg.errors.FeatureNotSupported) as refused:
        session.execute(statement.encode())
    diag = refused.value.diag
    assert diag.message_primary is not None
    assert "the teaching cluster does not support" in diag.message_primary
    assert 'table "' in diag.message_primary
    assert "genuine Citus does" in diag.message_primary
    assert diag.message_hint
    for table in ("t", "r"):
        assert rows(session, f"SELECT * FROM {table} ORDER BY k") == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(("query", "count"), _EXECUTED.values(), ids=_EXECUTED)
def test_the_same_words_elsewhere_are_not_refused(
    query: str, count: int, session: Connection
) -> None:
    """Strings, comments, local tables and reference tables are not concerned."""
    assert value(session, query) == count


def test_prepared_statements_and_functions_are_refused_too(
    cluster: Cluster, session: Connection
) -> None:
    """The text that was sent does not show what they execute."""
    if cluster.citus:
        pytest.skip("genuine Citus executes them")
    session.execute("PREPARE counting AS SELECT count(*) FROM ONLY t")
    session.execute("CREATE TABLE later (k int PRIMARY KEY)")
    session.execute(  # before the table is distributed
        "CREATE FUNCTION hidden() RETURNS bigint AS 'SELECT count(*) FROM ONLY later' LANGUAGE sql"
    )
    session.execute("SELECT create_distributed_table('later', 'k', shard_count => 2)")
    try:
        for statement in ("EXECUTE counting", "SELECT hidden()"):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="ONLY"):
                session.execute(statement.encode())
    finally:
        session.execute("DEALLOCATE counting")
        session.execute("DROP FUNCTION hidden")
        session.execute("DROP TABLE later")


def test_merge_into_a_reference_table_changes_all_copies(session: Connection) -> None:
    """The statement triggers get the changed rows from MERGE as from other statements."""
    with contextlib.suppress(psycopg.Rollback), session.transaction() as transaction:
        session.execute(_MERGE.format("r").replace("'m'", "'a'").encode())
        session.execute(_MERGE.format("r").replace("(1, 'm')", "(3, 'c')").encode())
        assert rows(session, "SELECT * FROM r ORDER BY k") == [(1, "a"), (2, "b"), (3, "c")]
        raise psycopg.Rollback(transaction)


def test_rules_and_triggers_are_not_lost_when_a_table_is_rebuilt(
    cluster: Cluster, session: Connection
) -> None:
    """The rebuild is refused until they are dropped."""
    if cluster.citus:
        pytest.skip("genuine Citus does not replace the table")
    session.execute("CREATE RULE keep AS ON DELETE TO plain DO INSTEAD NOTHING")
    try:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="rules or triggers"):
            session.execute("SELECT create_distributed_table('plain', 'k', shard_count => 2)")
    finally:
        session.execute("DROP RULE keep ON plain")
