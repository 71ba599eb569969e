"""A table with defaults, constraints, indexes and comments, and a description of it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.e2e.conformance.databases import Connection, Database, rows, value

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
DISTRIBUTE = "SELECT create_distributed_table('items', 'id', shard_count => 6)"


def make_items(connection: Connection) -> None:
    """Create table ``items`` with 500 rows, not distributed."""
    for command in _TABLE:
        connection.execute(command.encode())


def described(connection: Connection) -> dict[str, Any]:
    """Return everything that a user can see of table ``items``."""
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


def identity(connection: Connection) -> list[tuple[Any, ...]]:
    """Return the OID and kind of table ``items``."""
    return rows(connection, "SELECT oid, relkind FROM pg_class WHERE oid = 'items'::regclass")


def shards_on_workers(database: Database, workers: tuple[int, ...]) -> int:
    """Return the number of tables on workers whose names begin like those of the shards."""
    count = 0
    for worker in workers:
        with database.connect(worker) as connection:
            connection.execute(
                "SET citus.override_table_visibility = off"
            )  # otherwise Citus hides them
            count += value(
                connection,
                "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'items\\_1%'",
            )
    return count


def check_refused(connection: Connection, command: str) -> None:
    """Check that a command fails and does not change the plain table ``items``."""
    before = (described(connection), identity(connection))
    with pytest.raises(psycopg.Error):
        connection.execute(command.encode())
    assert (described(connection), identity(connection)) == before
    listed = "SELECT count(*) FROM citus_tables WHERE table_name = 'items'::regclass"
    assert value(connection, listed) == 0
