"""Errors of the drivers: what really happened, and a way out that fits."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql
from pymongo.errors import BulkWriteError, NotPrimaryError, OperationFailure

from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.errors import StoreError, StoreName
from helpers.stores import Stores, connect
from helpers.stores.connect import (
    connect_mongo,
    connect_postgres,
    connect_redis,
    explained,
    explaining,
    explaining_all,
)

CONNECT: dict[StoreName, Callable[[str], object]] = {
    "PostgreSQL": connect_postgres,
    "MongoDB": connect_mongo,
    "Redis": connect_redis,
}
URLS = {
    "PostgreSQL": "postgresql://user:secret@127.0.0.1:{}/shop",
    "MongoDB": "mongodb://127.0.0.1:{}/shop?directConnection=true",
    "Redis": "redis://:secret@127.0.0.1:{}/0",
}


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "TIMEOUT_SECONDS", 2)


@pytest.fixture(scope="module")
def listen() -> Iterator[Callable[[bytes | None], int]]:
    """Start servers that send these bytes to a client and disconnect; ``None``: that stay silent.

    Returns the port.
    """
    servers = []
    ended = threading.Event()

    def start(sent: bytes | None) -> int:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if sent is None:
                    ended.wait()
                elif sent:
                    self.request.sendall(sent)
                    self.request.recv(1000)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever).start()
        port: int = server.server_address[1]
        return port

    yield start
    ended.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_socket_that_does_not_exist_is_a_server_that_is_not_running() -> None:
    url = "postgresql://u:secret@%2Fno%2Fsuch%2Ffolder/x"
    assert "nobody listens there" in _message("PostgreSQL", url)


def test_an_unknown_service_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "no-such-service")
    expected = "PGSERVICE names a service that is not defined. Unset PGSERVICE."
    assert expected in _message("PostgreSQL", "postgresql://u:secret@127.0.0.1:1/x")


def _message(store: StoreName, url: str) -> str:
    with pytest.raises(StoreError) as caught:
        CONNECT[store](url)
    text = str(caught.value)
    assert text.startswith(f"{store} at ")
    assert "secret" not in text
    return text


HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "store", ["PostgreSQL", "Redis", pytest.param("MongoDB", marks=pytest.mark.verify)]
)
@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        (HTTP, "another program listens there. Correct its address."),
        (b"", "it closed the connection. Start it, or correct its address: it may require TLS"),
        (None, "it did not answer in time. Start it, or correct its address: another program may"),
    ],
    ids=["an HTTP server", "a server that disconnects", "a silent server"],
)
def test_a_server_of_another_kind_is_not_taken_for_one_that_is_stopped(
    store: StoreName, sent: bytes | None, cause: str, listen: Callable[[bytes | None], int]
) -> None:
    assert cause in _message(store, URLS[store].format(listen(sent)))


@pytest.mark.parametrize(
    ("store", "change", "cause"),
    [
        ("PostgreSQL", "?sslmode=require", "it does not offer TLS, which the address requires"),
        ("PostgreSQL", "?sslmode=always", "its address is malformed"),
        ("PostgreSQL", "?nothing=1", "its address is malformed"),
        ("MongoDB", "&replicaSet=other", "it has no replica set of this name"),
        ("MongoDB", "&authMechanism=MONGODB-X509", "its address is malformed"),
        ("Redis", "?nothing=1", "its address is malformed"),
        ("Redis", "?socket_timeout=soon", "its address is malformed"),
    ],
)
def test_a_wrong_option_of_an_address_is_the_cause(
    store: StoreName, change: str, cause: str, shared: Stores
) -> None:
    url = shared.addresses[store]
    if store != "MongoDB":
        url = url.partition("?")[0]
    elif "replicaSet" in change:
        url = url.replace("directConnection=true", "appName=test")
    assert cause in _message(store, url + change)


def test_missing_credentials_are_the_cause(shared: Stores) -> None:
    stores: list[StoreName] = ["MongoDB", "Redis"]
    for store in stores:
        scheme, _, rest = shared.addresses[store].partition("://")
        if "@" in rest:
            url = f"{scheme}://{rest.rpartition('@')[2]}"
            assert "it requires a" in _message(store, url)


@pytest.fixture
def postgres(shared: Stores) -> Iterator[psycopg.Connection]:
    with connect_postgres(shared.addresses.coordinator, database=shared.postgres.info.dbname) as c:
        yield c


@pytest.mark.parametrize(
    ("before", "statement", "cause"),
    [
        (
            "SET default_transaction_read_only = on",
            "CREATE TABLE a (id int)",
            "it is a replica, which is read-only. Give the address of the primary.",
        ),
        ("SET statement_timeout = 1", "SELECT pg_sleep(9)", "a query took longer than its limit"),
        (
            "SELECT 1",
            "DO $$ BEGIN RAISE EXCEPTION 'belegt' USING ERRCODE = 'lock_not_available'; END $$",
            "others hold locks that this needs. Try again in a moment.",
        ),
        (
            "SELECT 1",
            "DO $$ BEGIN RAISE EXCEPTION 'Platte voll' USING ERRCODE = 'disk_full'; END $$",
            "its disk is full. Free some space there.",
        ),
        (
            "SET ROLE pg_read_all_stats",
            "CREATE ROLE other",
            "the user has no right to do this. It says: permission denied to create role. Use",
        ),
        (
            "SELECT 1",
            "SELECT pg_terminate_backend(pg_backend_pid())",
            "it was stopped, or another kernel or program opened its database again",
        ),
        (
            "SELECT 1",
            "SELECT pg_catalog.no_such_function('timeout')",
            "it stopped the work (UndefinedFunction). It says: function pg_catalog.no_such_",
        ),
        (
            "CREATE TEMP TABLE named (name text CHECK (name = ''))",
            "INSERT INTO named VALUES ('connection timeout')",
            "it stopped the work (CheckViolation). It says: new row for relation",
        ),
    ],
)
def test_an_error_of_postgresql_is_explained(
    before: str, statement: str, cause: str, shared: Stores, postgres: psycopg.Connection
) -> None:
    postgres.execute(sql.SQL(before))
    with pytest.raises(StoreError) as caught, explaining_all(shared.addresses):
        postgres.execute(sql.SQL(statement))
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def valkey() -> Iterator[TemporaryValkey]:
    with temporary_valkey(append_only=False) as server:
        yield server


@pytest.mark.parametrize(
    ("setting", "value", "cause"),
    [
        ("maxmemory", 1, "its memory is full. Increase maxmemory in its configuration"),
        ("min-replicas-to-write", 1, "it stopped the work (ResponseError)"),
    ],
)
def test_a_limit_of_redis_is_explained(
    setting: str, value: int, cause: str, valkey: TemporaryValkey
) -> None:
    with connect_redis(valkey.url) as client:
        client.config_set(setting, value)
        text = _refused(client, valkey.url)
        client.config_set(setting, 0)
    assert cause in text


def _refused(client: redis.Redis, url: str) -> str:
    with pytest.raises(StoreError) as caught, explaining("Redis", url):
        client.set("a", 1)
    return str(caught.value)


def test_a_replica_of_redis_is_explained(valkey: TemporaryValkey) -> None:
    with connect_redis(valkey.url) as client:
        client.replicaof("127.0.0.1", 1)
        text = _refused(client, valkey.url)
        client.replicaof("NO", "ONE")
    assert "it is a replica, which is read-only" in text


def test_a_user_of_redis_without_rights_is_explained(valkey: TemporaryValkey) -> None:
    parts = urlsplit(valkey.url)
    url = f"redis://reader:secret@{parts.hostname}:{parts.port}/0"
    with connect_redis(valkey.url) as client:
        client.acl_setuser("reader", enabled=True, passwords=["+secret"], commands=["+ping"])
        with connect_redis(url) as reader:
            text = _refused(reader, url)
        client.acl_deluser("reader")
    assert "the user has no right to do this" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        # Messages of genuine servers that the embedded ones do not send.
        (
            OperationFailure(
                "not authorized on shop to execute command { insert: ... }",
                13,
                {"errmsg": "not authorized on shop to execute command { insert: ... }"},
            ),
            "the user has no right to do this. It says: not authorized on shop",
        ),
        (NotPrimaryError("not primary"), "it is not the primary of its replica set"),
        (
            OperationFailure("x", 14031, {"errmsg": "available disk space of 1 bytes is less"}),
            "its disk is full",
        ),
        (
            BulkWriteError({"writeErrors": [{"errmsg": "failed validation", "op": "x"}]}),
            "it stopped the work (BulkWriteError). It says: failed validation. Look",
        ),
        (
            BulkWriteError({"writeErrors": [{"errmsg": "too large", "op": {"name": "timeout"}}]}),
            "It says: too large.",
        ),
        (
            psycopg.OperationalError(
                'connection failed: FATAL:  no pg_hba.conf entry for host "h", user "u", database '
                '"d", no encryption'
            ),
            "it does not accept this user from this computer, or only with TLS. Add sslmode=",
        ),
        (psycopg.OperationalError('FATAL:  role "me" does not exist'), "it has no role 'me'"),
        (
            psycopg.OperationalError("FATAL:  sorry, too many clients already"),
            "it has no free connection. Close other notebooks",
        ),
        (
            psycopg.OperationalError("could not extend file: No space left on device"),
            "its disk is full",
        ),
        (
            psycopg.OperationalError("FATAL:  the database system is shutting down"),
            "it is being stopped",
        ),
        (
            psycopg.OperationalError("SSL error: certificate verify failed"),
            "its TLS certificate is not trusted",
        ),
        (
            redis.ConnectionError("Error 1 connecting to h:1. [SSL: WRONG_VERSION_NUMBER] wrong"),
            "it does not offer TLS",
        ),
        (
            redis.ResponseError("MISCONF Valkey is configured to save RDB snapshots, but it's "
            "currently unable to persist to disk."),
            "it cannot write to its disk",
        ),
        (redis.ResponseError("SELECT is not allowed in cluster mode"), "it is a Redis Cluster"),
        (redis.BusyLoadingError("Valkey is loading the dataset in memory"), "it is still starting"),
        (redis.ConnectionError("max number of clients reached"), "it has no free connection"),
        (redis.ResponseError("unknown command 'X', with args beginning with: 'secret'"), "stopped"),
    ],
)  # fmt: skip
def test_an_error_of_a_genuine_server_is_explained(error: Exception, cause: str) -> None:
    text = str(explained("PostgreSQL", "postgresql://u:secret@h/d", error))
    assert cause in text
    assert "secret" not in text


@pytest.mark.parametrize("seconds", [None, 7])
def test_only_the_first_answer_of_redis_is_limited_if_no_limit_is_given(
    seconds: int | None, shared: Stores
) -> None:
    with connect_redis(shared.addresses.redis, answer_seconds=seconds) as client:
        connection = client.connection_pool.get_connection()
        assert connection.socket_timeout == seconds
        client.connection_pool.release(connection)
