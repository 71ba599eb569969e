"""Citus's SQL interface for nodes that have no Citus: scripts, loaded into a database as they are.

They lie in ``sql/coordinator`` and ``sql/worker``, one subject each, in the order in which they
are loaded.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from helpers.errors import StoreError

Part = Literal["coordinator", "worker"]

_FOLDER = Path(__file__).with_name("sql")


def load_scripts(connection: psycopg.Connection, part: Part) -> None:
    """Load the scripts of one kind of node into the connected database, all or none; once only.

    Raises ``StoreError`` when the database has scripts of another version.
    """
    loaded = _loaded(connection)
    if loaded == version():
        return
    if loaded is not None:
        raise StoreError(
            "PostgreSQL",
            f"database {connection.info.dbname}",
            "it was made by another version of this course",
            "Start over with `python -m helpers reset` (this deletes the data).",
        )
    with connection.transaction():
        # The scripts set what they need for themselves; none of it may outlive them.
        for script in scripts(part):
            connection.execute(script.read_bytes())
        connection.execute("RESET ALL")
        connection.execute(
            sql.SQL("COMMENT ON SCHEMA sharding IS {}").format(sql.Literal(version()))
        )


def scripts(part: Part) -> list[Path]:
    """Return the scripts of one kind of node, in the order in which they are loaded."""
    return sorted((_FOLDER / part).glob("*.sql"))


@cache
def version() -> str:
    """Return what tells one version of the scripts from another."""
    digest = hashlib.sha256()
    for part in ("coordinator", "worker"):
        for script in scripts(part):
            digest.update(script.read_bytes())
    return digest.hexdigest()


def _loaded(connection: psycopg.Connection) -> str | None:
    """Return the version that the database has, an empty text if it has one without a name."""
    row = connection.execute(
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace "
        "WHERE nspname = 'sharding'"
    ).fetchone()
    return None if row is None else str(row[0])
