"""Ownership markers: the course drops, empties and fills only databases that it created.

A server given by address may hold other people's data. So each database that the course creates
there carries a marker: a comment on a PostgreSQL database, a document in a MongoDB collection, a
key in a logical database of Redis. A database with data and without the marker is refused. An empty
one can be claimed, which adds the marker.

Redis's logical databases need one check more: some providers accept ``SELECT`` and ignore it, so
that all numbers are the same database.
"""

from __future__ import annotations

import secrets
from typing import Literal

import psycopg
import redis
from psycopg import sql
from pymongo.database import Database

from helpers.errors import ForeignDataError
from helpers.settings import Addresses, redact
from helpers.stores.connect import REDIS_MARKER, Document, connect_mongo, connect_redis, explaining
from helpers.stores.stores import Stores

#: ``empty``: no data and no marker; ``ours``: the marker; ``foreign``: data and no marker.
Ownership = Literal["empty", "ours", "foreign"]

MARKER = "Created by the course 'Distributed data, hands on', which may drop it."
MONGO_MARKER = "course_marker"

_PROBE_SECONDS = 10

# Everything that a user can create and that is not part of an extension such as Citus.
_HAS_OBJECTS = """
SELECT EXISTS (
    SELECT FROM pg_class c WHERE c.relnamespace::regnamespace::text !~ %(system)s
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = c.oid AND d.deptype = 'e')
    UNION ALL
    SELECT FROM pg_proc p WHERE p.pronamespace::regnamespace::text !~ %(system)s
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
            AND d.objid = p.oid AND d.deptype = 'e')
    UNION ALL
    SELECT FROM pg_type t WHERE t.typtype IN ('d', 'e', 'r')
        AND t.typnamespace::regnamespace::text !~ %(system)s
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
            AND d.objid = t.oid AND d.deptype = 'e')
    UNION ALL
    SELECT FROM pg_largeobject_metadata
)
"""
_SYSTEM = "^(pg_catalog|pg_toast.*|pg_temp.*|information_schema)$"


def postgres_ownership(connection: psycopg.Connection) -> Ownership:
    """Return the ownership of the database of ``connection``."""
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
        " WHERE datname = current_database()"
    ).fetchone()
    if row is not None and row[0] == MARKER:
        return "ours"
    row = connection.execute(_HAS_OBJECTS, {"system": _SYSTEM}).fetchone()
    return "foreign" if row is not None and row[0] else "empty"


def mongo_ownership(database: Database[Document]) -> Ownership:
    """Return the ownership of ``database``; one that does not exist is ``empty``."""
    names = set(database.list_collection_names())
    if MONGO_MARKER in names and database[MONGO_MARKER].find_one({"_id": MARKER}) is not None:
        return "ours"
    return "foreign" if names else "empty"


def redis_ownership(client: redis.Redis) -> Ownership:
    """Return the ownership of the logical database of ``client``."""
    if client.get(REDIS_MARKER) == MARKER:
        return "ours"
    return "foreign" if client.dbsize() else "empty"


def claim_postgres(connection: psycopg.Connection, url: str) -> None:
    """Add the marker to the database of ``connection``, whose user must own it.

    Raises ``ForeignDataError`` if it has data and no marker.
    """
    if check_postgres(connection, url) != "ours":
        _mark_postgres(connection)


def _mark_postgres(connection: psycopg.Connection) -> None:
    comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
    name = sql.Identifier(connection.info.dbname)
    connection.execute(comment.format(name, sql.Literal(MARKER)))


def check_postgres(connection: psycopg.Connection, url: str) -> Ownership:
    """Return the ownership; raise ``ForeignDataError`` if the database has foreign data."""
    found = postgres_ownership(connection)
    if found == "foreign":
        raise ForeignDataError(
            "PostgreSQL",
            redact(url),
            f"the database {connection.info.dbname!r} has data that the course did not create",
            "Nothing was changed. Use another server, or drop the database yourself.",
        )
    return found


def check_mongo_and_redis(addresses: Addresses, name: str, redis_number: int) -> None:
    """Check that the course may empty these databases of MongoDB and Redis.

    Raises ``ForeignDataError`` if one has data and no marker, or if Redis ignores the number of the
    logical database; ``StoreError`` if a server is unavailable.
    """
    database = connect_mongo(addresses.mongo, database=name)
    with database.client, explaining("MongoDB", addresses.mongo):
        _check_mongo(database, addresses.mongo)
    client = connect_redis(addresses.redis, database=redis_number)
    other = connect_redis(addresses.redis, database=0 if redis_number else 1)
    with client, other, explaining("Redis", addresses.redis):
        _check_separate(client, other, addresses.redis)
        _check_redis(client, redis_number, addresses.redis)


def claim(stores: Stores) -> None:
    """Add the markers to the three databases of ``stores``, unless the servers are embedded.

    Raises ``ForeignDataError``, before it changes anything, if a database has data and no marker.
    """
    addresses = stores.addresses
    if addresses.embedded:
        return
    number = stores.redis_database or 0
    found = check_postgres(stores.postgres, addresses.coordinator)
    _check_mongo(stores.mongo, addresses.mongo)
    _check_redis(stores.redis, number, addresses.redis)
    if found != "ours":
        _mark_postgres(stores.postgres)
    stores.mongo[MONGO_MARKER].replace_one({"_id": MARKER}, {"_id": MARKER}, upsert=True)
    stores.redis.set(REDIS_MARKER, MARKER)


def _check_mongo(database: Database[Document], url: str) -> None:
    if mongo_ownership(database) == "foreign":
        raise ForeignDataError(
            "MongoDB",
            redact(url),
            f"the database {database.name!r} has collections that the course did not create",
            "Nothing was changed. Use another server, or drop the database yourself.",
        )


def _check_redis(client: redis.Redis, number: int, url: str) -> None:
    if redis_ownership(client) == "foreign":
        raise ForeignDataError(
            "Redis",
            redact(url),
            f"the logical database {number} has keys that the course did not create",
            "Nothing was changed. Use another server, or empty the database yourself: "
            f"redis-cli -n {number} FLUSHDB",
        )


def _check_separate(client: redis.Redis, other: redis.Redis, url: str) -> None:
    key = f"course:probe:{secrets.token_hex(8)}"
    client.set(key, "1", ex=_PROBE_SECONDS)
    try:
        is_visible = bool(other.exists(key))
    finally:
        client.delete(key)
    if is_visible:
        raise ForeignDataError(
            "Redis",
            redact(url),
            "it has a single database: it accepts SELECT and ignores the number, so that emptying "
            "one database would empty all",
            "Nothing was changed. Use a server with 16 separate logical databases.",
        )
