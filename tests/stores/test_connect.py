"""Errors of unreachable stores name the store, the address, the cause and the way out."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from helpers.errors import StoreError
from helpers.stores import Stores, connect
from helpers.stores.connect import connect_mongo, connect_postgres, connect_redis

pytestmark = pytest.mark.by_address

CONNECT: dict[str, Callable[[str], object]] = {
    "PostgreSQL": connect_postgres,
    "MongoDB": connect_mongo,
    "Redis": connect_redis,
}


def _address(stores: Stores, store: str) -> str:
    known = stores.addresses
    return {"PostgreSQL": known.coordinator, "MongoDB": known.mongo, "Redis": known.redis}[store]


def _replaced(url: str, **parts: object) -> str:
    """Return ``url`` with another password, port or database."""
    split = urlsplit(url)
    password = parts.get("password", split.password)
    port = parts.get("port", split.port)
    path = parts.get("path", split.path)
    netloc = f"{split.username or ''}:{password}@{split.hostname}:{port}"
    return split._replace(netloc=netloc, path=str(path)).geturl()


def _error(store: str, url: str) -> str:
    with pytest.raises(StoreError) as caught:
        CONNECT[store](url)
    text = str(caught.value)
    assert caught.value.store == store
    assert store in text
    assert str(urlsplit(url).password) not in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("store", CONNECT)
def test_a_wrong_password_is_named_as_the_cause(store: str, shared: Stores) -> None:
    text = _error(store, _replaced(_address(shared, store), password="not-the-password"))
    assert "password is wrong" in text
    assert "not-the-password" not in text


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time for which MongoDB's driver retries from five seconds to one."""
    monkeypatch.setattr(connect, "TIMEOUT_SECONDS", 1)


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize("store", CONNECT)
def test_an_unavailable_server_is_named_with_its_port(store: str, shared: Stores) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = _error(store, _replaced(_address(shared, store), port=port))
    assert "nobody listens there" in text
    assert str(port) in text


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize("store", CONNECT)
def test_an_unknown_host_is_named_as_the_cause(store: str, shared: Stores) -> None:
    url = _address(shared, store).replace("127.0.0.1", "no-such-host.invalid")
    assert "host name" in _error(store, url)


def test_a_database_that_does_not_exist_is_named(shared: Stores) -> None:
    url = _replaced(_address(shared, "PostgreSQL"), path="/nowhere")
    assert "no database 'nowhere'" in _error("PostgreSQL", url)


def test_a_logical_database_beyond_the_last_is_named(shared: Stores) -> None:
    url = _replaced(_address(shared, "Redis"), path="/100000")
    assert "no logical database of that number" in _error("Redis", url)


@pytest.mark.parametrize("store", CONNECT)
def test_a_failed_connection_keeps_the_password_out_of_the_traceback(
    store: str, shared: Stores
) -> None:
    with pytest.raises(StoreError) as caught:
        CONNECT[store](_replaced(_address(shared, store), password="s3cret-word"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
