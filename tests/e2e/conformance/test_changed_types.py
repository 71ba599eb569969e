"""Changes to types reach the workers, and tables can be created after each of them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.e2e.conformance.databases import Connection, Database, rows, value

pytestmark = pytest.mark.servers

_TABLE = "CREATE TABLE {} (k int PRIMARY KEY, m x.mood, ms x.mood[], p x.pair, n x.positive)"


@pytest.fixture
def session(database: Database) -> Iterator[Connection]:
    """A session with an enum, a composite type and a domain in use by a filled table.

    They are in schemas, since emptying the database drops schemas on every node.
    """
    with database.connect() as connection:
        connection.execute("CREATE SCHEMA x")
        connection.execute("CREATE TYPE x.mood AS ENUM ('ok', 'good')")
        connection.execute("CREATE TYPE x.pair AS (a int, m x.mood)")
        connection.execute("CREATE DOMAIN x.positive AS int CONSTRAINT above CHECK (VALUE > 0)")
        connection.execute(_TABLE.format("t").encode())
        connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 4)")
        connection.execute(
            "INSERT INTO t SELECT g, 'ok', '{good}', '(1,ok)', 1 FROM generate_series(1, 9) g"
        )
        yield connection


def _labels_on_workers(connection: Connection, enum: str) -> set[str]:
    """Return the enum's labels in their order; one element if the workers agree."""
    found = rows(
        connection,
        "SELECT result FROM run_command_on_workers($$ SELECT string_agg(enumlabel, ' ' "
        f"ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = '{enum}'::regtype $$)",
    )
    return {labels for (labels,) in found}


_CHANGES = {
    "label": "ALTER TYPE x.mood ADD VALUE 'great'",
    "label before": "ALTER TYPE x.mood ADD VALUE 'bad' BEFORE 'ok'",
    "label renamed": "ALTER TYPE x.mood RENAME VALUE 'ok' TO 'fine'",
    "type renamed": "ALTER TYPE x.mood RENAME TO feeling",
    "type moved": "ALTER TYPE x.mood SET SCHEMA public; ALTER TYPE mood SET SCHEMA x",
    "schema renamed": "ALTER SCHEMA x RENAME TO y; ALTER SCHEMA y RENAME TO x",
    "attribute": "ALTER TYPE x.pair ADD ATTRIBUTE b text",
    "attribute renamed": "ALTER TYPE x.pair RENAME ATTRIBUTE a TO c",
    "attribute dropped": "ALTER TYPE x.pair DROP ATTRIBUTE m",
    "attribute of another type": (
        "CREATE TYPE x.other AS ENUM ('new'); ALTER TYPE x.pair ADD ATTRIBUTE o x.other"
    ),
    "domain renamed": "ALTER DOMAIN x.positive RENAME TO amount",
    "constraint renamed": "ALTER DOMAIN x.positive RENAME CONSTRAINT above TO over",
    "constraint dropped": "ALTER DOMAIN x.positive DROP CONSTRAINT above",
    "not null": "ALTER DOMAIN x.positive SET NOT NULL; ALTER DOMAIN x.positive DROP NOT NULL",
    "default": "ALTER DOMAIN x.positive SET DEFAULT 7",
}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, marks=() if name == "type renamed" else pytest.mark.verify, id=name)
        for name, change in _CHANGES.items()
    ],
)
def test_rows_are_read_and_written_and_tables_created_after_a_change(
    change: str, session: Connection
) -> None:
    """A table with the same types is created and filled from the first one."""
    for command in change.split("; "):
        session.execute(command.encode())
    before = rows(session, "SELECT * FROM t ORDER BY k")
    session.execute("INSERT INTO t SELECT k + 100, m, ms, p, n FROM t")
    session.execute("CREATE TABLE u (LIKE t INCLUDING ALL)")
    session.execute("SELECT create_distributed_table('u', 'k', colocate_with => 't')")
    session.execute("INSERT INTO u SELECT * FROM t WHERE k < 100")
    session.execute("ALTER TABLE u ADD COLUMN more int")
    assert rows(session, "SELECT k, m, ms, p, n FROM u ORDER BY k") == before


def test_labels_have_the_same_order_on_workers_and_can_be_used(session: Connection) -> None:
    """A label is added before another one, after it, or at the end."""
    session.execute("ALTER TYPE x.mood ADD VALUE 'bad' BEFORE 'ok'")
    session.execute("ALTER TYPE x.mood ADD VALUE 'fair' AFTER 'ok'")
    session.execute("ALTER TYPE x.mood ADD VALUE IF NOT EXISTS 'fair'")
    session.execute("ALTER TYPE x.mood ADD VALUE 'great'")
    session.execute("ALTER TYPE x.mood RENAME VALUE 'good' TO 'fine'")
    assert _labels_on_workers(session, "x.mood") == {"bad ok fair fine great"}
    session.execute("INSERT INTO t VALUES (20, 'great', '{bad}', '(1,fair)', 1)")
    assert rows(session, "SELECT m, ms, p FROM t WHERE m > 'fine'") == [
        ("great", "{bad}", "(1,fair)")
    ]


def test_a_constraint_of_a_domain_is_checked_against_the_rows_of_the_shards(
    session: Connection,
) -> None:
    """The coordinator has no rows that would violate it."""
    session.execute("ALTER DOMAIN x.positive DROP CONSTRAINT above")
    session.execute("UPDATE t SET n = -1 WHERE k = 3")
    with pytest.raises(psycopg.errors.CheckViolation, match="violate the new constraint"):
        session.execute("ALTER DOMAIN x.positive ADD CONSTRAINT above CHECK (VALUE > 0)")
    session.execute("ALTER DOMAIN x.positive ADD CONSTRAINT above CHECK (VALUE > 0) NOT VALID")
    with pytest.raises(psycopg.errors.CheckViolation):
        session.execute("INSERT INTO t (k, n) VALUES (30, -2)")
    session.execute("DELETE FROM t WHERE k = 3")
    session.execute("ALTER DOMAIN x.positive VALIDATE CONSTRAINT above")


def test_a_change_is_rolled_back_on_the_workers_too(session: Connection) -> None:
    session.execute("BEGIN")
    session.execute("ALTER TYPE x.mood RENAME TO feeling")
    session.execute("ALTER TYPE x.feeling ADD VALUE 'great'")
    session.execute("ROLLBACK")
    assert _labels_on_workers(session, "x.mood") == {"ok good"}


@pytest.mark.verify
def test_dropping_a_type_drops_it_on_the_workers_with_its_columns(session: Connection) -> None:
    """A new type of the same name has its own labels there."""
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        session.execute("DROP TYPE x.mood")
    session.execute("DROP TYPE x.mood CASCADE")
    assert rows(session, "SELECT * FROM t WHERE k = 1") == [(1, "(1)", 1)]
    session.execute("CREATE TYPE x.mood AS ENUM ('new')")
    session.execute("ALTER TABLE t ADD COLUMN m x.mood DEFAULT 'new'")
    assert _labels_on_workers(session, "x.mood") == {"new"}
    assert value(session, "SELECT count(*) FROM t WHERE m = 'new'") == 9
    session.execute("DROP SCHEMA x CASCADE")
    assert rows(session, "SELECT * FROM t WHERE k = 1") == [(1,)]


@pytest.mark.verify
def test_ranges_and_extension_types_reach_the_workers(session: Connection) -> None:
    """Also if the extension moves to another schema, or is dropped with its columns."""
    session.execute("CREATE TYPE x.span AS RANGE (SUBTYPE = int)")
    session.execute("CREATE EXTENSION hstore SCHEMA x")
    session.execute("CREATE TABLE e (k int PRIMARY KEY, s x.span, h x.hstore)")
    session.execute("SELECT create_reference_table('e')")
    session.execute("ALTER TYPE x.span RENAME TO stretch")
    session.execute("CREATE SCHEMA z")
    session.execute("ALTER EXTENSION hstore SET SCHEMA z")
    session.execute("INSERT INTO e VALUES (1, '[1,3)', 'a=>1')")
    session.execute("ALTER TABLE t ADD COLUMN s x.stretch, ADD COLUMN h z.hstore")
    session.execute("UPDATE t SET s = e.s, h = e.h FROM e WHERE t.k = 1")
    assert value(session, "SELECT s::text || h::text FROM t WHERE k = 1") == '[1,3)"a"=>"1"'
    session.execute("DROP EXTENSION hstore CASCADE")
    assert rows(session, "SELECT * FROM e") == rows(session, "SELECT k, s FROM t WHERE k = 1")


def test_missing_functions_and_collations_are_explained(session: Connection) -> None:
    """Only types are copied to the workers; the error says so."""
    session.execute("CREATE FUNCTION x.f(int) RETURNS boolean IMMUTABLE RETURN $1 > 0")
    session.execute('CREATE COLLATION x.c (provider = builtin, locale = "C")')
    for column in ("n int CHECK (x.f(n))", 'n text COLLATE "x"."c"'):
        session.execute(f"CREATE TABLE u (k int PRIMARY KEY, {column})".encode())
        with pytest.raises(psycopg.Error, match="does not exist") as refused:
            session.execute("SELECT create_distributed_table('u', 'k', shard_count => 2)")
        assert "no functions, operators or collations" in (refused.value.diag.message_detail or "")
        session.execute("DROP TABLE u")
