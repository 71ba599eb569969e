"""Markers of ownership: databases with other people's data are refused and not changed."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from helpers.citus.cluster_databases import create_database, drop_database, nodes_of
from helpers.embedded.temporary_valkey import temporary_valkey
from helpers.errors import ForeignDataError
from helpers.settings import Settings
from helpers.shop import locate
from helpers.shop.opening import open_databases
from helpers.shop.schema import create_shop, drop_shop
from helpers.stores import Stores
from helpers.stores.connect import REDIS_MARKER, connect_mongo, connect_postgres, connect_redis
from helpers.stores.ownership import MARKER, MONGO_MARKER, check_mongo_and_redis, claim
from helpers.stores.stores import connect_all

pytestmark = pytest.mark.by_address

#: The first of the logical databases that no other test uses.
NUMBER = 14


@pytest.fixture
def given(settings: Settings, process_number: int) -> Iterator[tuple[Settings, str]]:
    """The servers as if they had been given by address, and the name of databases on them."""
    addresses, name = replace(locate(settings), embedded=False), f"ownership_{process_number}"
    yield replace(settings, addresses=addresses), name
    drop_database(nodes_of(addresses), name)
    with connect_mongo(addresses.mongo).client as client:
        client.drop_database(name)
    with connect_redis(addresses.redis, database=NUMBER + process_number) as redis:
        redis.delete(REDIS_MARKER)
        redis.flushdb()


def _number(process_number: int) -> int:
    return NUMBER + process_number


def test_created_databases_carry_the_marker_and_can_be_recreated(
    given: tuple[Settings, str], process_number: int
) -> None:
    settings, name = given
    for _ in range(2):
        with open_databases(name, _number(process_number), settings) as stores:
            query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            row = stores.postgres.execute(f"{query} WHERE datname = %s", [name]).fetchone()
            assert row == (MARKER,)
            assert stores.mongo.list_collection_names() == [MONGO_MARKER]
            assert stores.redis.keys() == [REDIS_MARKER]
            stores.postgres.execute("CREATE TABLE t (id int)")
            stores.mongo.c.insert_one({})
            stores.redis.set("key", 1)
            stores.redis.flushdb()
            stores.redis.set("key", 1)


@pytest.mark.parametrize("store", ["PostgreSQL", "MongoDB", "Redis"])
def test_a_database_with_foreign_data_is_refused_before_anything_changes(
    given: tuple[Settings, str], process_number: int, store: str
) -> None:
    settings, name = given
    number = _number(process_number)
    addresses = settings.addresses
    assert addresses is not None
    create_database(nodes_of(addresses)[:1], name, citus=False)
    with connect_all(addresses, database=name, redis_database=number) as theirs:
        if store == "PostgreSQL":
            theirs.postgres.execute("CREATE TABLE t (id int)")
        elif store == "MongoDB":
            theirs.mongo.c.insert_one({"_id": 1})
        else:
            theirs.redis.set("key", 1)
        if store != "PostgreSQL":  # its scripts count as foreign objects
            drop_database(nodes_of(addresses), name)
        with pytest.raises(ForeignDataError, match="course did not create") as raised:
            open_databases(name, number, settings)
        assert raised.value.store == store
    with connect_mongo(addresses.mongo, database=name).client as client:
        assert client[name].list_collection_names() == (["c"] if store == "MongoDB" else [])
    with connect_redis(addresses.redis, database=number) as redis:
        assert redis.keys() == (["key"] if store == "Redis" else [])
    if store == "PostgreSQL":
        with connect_postgres(addresses.coordinator, database=name) as connection:
            assert connection.execute("TABLE t").fetchall() == []


@pytest.mark.parametrize("kind", ["table", "view", "function", "type", "sequence", "schema table"])
def test_objects_of_every_kind_count_as_data(
    given: tuple[Settings, str], process_number: int, kind: str
) -> None:
    settings, name = given
    addresses = settings.addresses
    assert addresses is not None
    statement = {
        "table": "CREATE TABLE t ()",
        "view": "CREATE VIEW v AS SELECT 1",
        "function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "type": "CREATE TYPE e AS ENUM ('a')",
        "sequence": "CREATE SEQUENCE s",
        "schema table": "CREATE SCHEMA other CREATE TABLE t ()",
    }[kind]
    _create_empty(addresses.coordinator, name)
    with connect_postgres(addresses.coordinator, database=name) as connection:
        connection.execute(statement)
    with pytest.raises(ForeignDataError, match="PostgreSQL"):
        open_databases(name, _number(process_number), settings)


def test_empty_databases_are_claimed_and_not_dropped(
    given: tuple[Settings, str], process_number: int
) -> None:
    settings, name = given
    addresses = settings.addresses
    assert addresses is not None
    _create_empty(addresses.coordinator, name)
    oid = "SELECT oid FROM pg_database WHERE datname = %s"
    with connect_postgres(addresses.coordinator) as connection:
        before = connection.execute(oid, [name]).fetchone()
        open_databases(name, _number(process_number), settings).close()
        assert connection.execute(oid, [name]).fetchone() == before


def test_the_shop_is_neither_created_nor_dropped_next_to_foreign_data(stores: Stores) -> None:
    """The tables of another shop may have the same names."""
    foreign = Stores(
        stores.postgres, stores.mongo, stores.redis, replace(stores.addresses, embedded=False)
    )
    stores.postgres.execute("CREATE TABLE products (id int)")
    with _without_marker(stores):
        for act in (create_shop, drop_shop, claim):
            with pytest.raises(ForeignDataError, match="PostgreSQL"):
                act(foreign)
    assert stores.postgres.execute("TABLE products").fetchall() == []


class _without_marker:  # noqa: N801 - a context manager
    """Remove the marker of a PostgreSQL database, and restore it at the end."""

    def __init__(self, stores: Stores) -> None:
        self._postgres = stores.postgres
        self._name = sql.Identifier(stores.mongo.name)
        query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        row = stores.postgres.execute(query, [stores.mongo.name]).fetchone()
        self._before = row[0] if row else None

    def __enter__(self) -> None:
        self._set(None)

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    def _set(self, comment: str | None) -> None:
        statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
        self._postgres.execute(statement.format(self._name, sql.Literal(comment)))


def test_a_redis_that_ignores_the_number_of_the_database_is_refused(stores: Stores) -> None:
    with (
        temporary_valkey() as valkey,
        _ignoring_select(valkey.url) as url,
        connect_redis(valkey.url) as theirs,
    ):
        theirs.set("key", 1)
        addresses = replace(stores.addresses, redis=url)
        with pytest.raises(ForeignDataError, match="accepts SELECT and ignores the number"):
            check_mongo_and_redis(addresses, "ownership_none", 4)
        assert theirs.keys() == ["key"]


class _ignoring_select:  # noqa: N801 - a context manager
    """A proxy that turns every ``SELECT n`` into ``SELECT 0``, as some providers do."""

    _SELECT = re.compile(rb"(SELECT\r\n)\$\d+\r\n\d+\r\n")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self._url = parts._replace(netloc=f":{parts.password}@127.0.0.1:{port}").geturl()

    def __enter__(self) -> str:
        threading.Thread(target=self._accept, daemon=True).start()
        return self._url

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with source, target:
            while data := _receive(source):
                target.sendall(self._SELECT.sub(rb"\1$1\r\n0\r\n", data))


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def _create_empty(url: str, name: str) -> None:
    with connect_postgres(url, database="postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def test_a_user_who_may_not_create_databases_is_told(
    given: tuple[Settings, str], process_number: int
) -> None:
    settings, name = given
    assert settings.addresses is not None
    role = f"limited_{process_number}"
    parts = urlsplit(settings.addresses.coordinator)
    with psycopg.connect(settings.addresses.coordinator, autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {role}")
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'limited'")
        try:
            netloc = f"{role}:limited@{parts.netloc.rpartition('@')[2]}"
            limited = replace(
                settings.addresses, coordinator=parts._replace(netloc=netloc).geturl(), workers=()
            )
            with pytest.raises(Exception, match="create database") as raised:
                create_database(nodes_of(limited), name, citus=False, embedded=False)
            assert "PostgreSQL at" in str(raised.value)
        finally:
            connection.execute(f"DROP ROLE {role}")
