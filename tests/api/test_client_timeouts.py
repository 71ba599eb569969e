"""Slow clients are disconnected, and other clients do not wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from helpers.api.client_timeouts import protocol_with
from helpers.lab.background_programs import ServiceProcess
from helpers.stores import Stores
from tests.api.serving import serving
from tests.waiting import wait_until

# A test fails if what it waits for takes longer.
_TIMEOUT_SECONDS = 60.0
_MANY = 100
# The response has about nine kilobytes and needs no store.
_LIST = b"GET /lab/products/constant HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def strict(shop: Stores) -> Iterator[ServiceProcess]:
    """A service with a short client timeout."""
    with serving(shop, client_timeout=0.5, lab=True) as running:
        yield running


@contextlib.contextmanager
def _connections(service: ServiceProcess, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(_connect(service)) for _ in range(count)]


def _connect(service: ServiceProcess) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=_TIMEOUT_SECONDS)


def _until_closed(connection: socket.socket) -> bytes:
    """Return what is received until the service closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received


def test_a_client_that_sends_nothing_is_disconnected(strict: ServiceProcess) -> None:
    with _connections(strict, _MANY) as idle:
        assert httpx.get(f"{strict.url}/api/products").status_code == 200
        assert [_until_closed(connection) for connection in idle] == [b""] * _MANY


def test_a_client_that_never_completes_the_head_is_disconnected(strict: ServiceProcess) -> None:
    with _connections(strict, _MANY) as slow:
        for connection in slow:
            connection.sendall(b"GET /api/products HTTP/1.1\r\nHost: x\r\nX-Slow: a")
        assert httpx.get(f"{strict.url}/api/products").status_code == 200
        assert [_until_closed(connection) for connection in slow] == [b""] * _MANY


def test_the_head_of_a_second_request_has_the_same_time_limit(strict: ServiceProcess) -> None:
    with _connect(strict) as connection:
        connection.sendall(b"GET /api/products/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /api/products/1 HTTP/1.1\r\nHost:")
        _until_closed(connection)


def test_a_body_that_is_late_is_a_problem(strict: ServiceProcess) -> None:
    head = (
        "PUT /api/products/1/stock HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {strict.token}\r\nContent-Length: 20\r\n\r\n"
    )
    with _connections(strict, 20) as slow:
        for connection in slow:
            connection.sendall(head.encode() + b'{"on_hand"')
        assert httpx.get(f"{strict.url}/api/products").status_code == 200
        for connection in slow:
            response = _until_closed(connection)
            assert response.startswith(b"HTTP/1.1 408")
            assert b"/problems/slow-body" in response
    assert httpx.get(f"{strict.url}/api/products/1").json()["stock"] == "15"


@contextlib.contextmanager
def _not_reading(service: ServiceProcess, requests: list[bytes]) -> Iterator[Callable[[], bool]]:
    """Send each of the ``requests`` on a new connection, and read nothing.

    Yield a function that tells whether the service still has one of these connections open.
    """
    parts = urlsplit(service.url)
    process = psutil.Process(service.pid)

    def are_open() -> bool:
        return any(
            found.laddr.port == parts.port and found.status == psutil.CONN_ESTABLISHED
            for found in process.net_connections("tcp")
        )

    with contextlib.ExitStack() as opened:
        for request in requests:
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(_TIMEOUT_SECONDS)
            client.connect((parts.hostname, parts.port))
            client.sendall(request)
        yield are_open


def test_a_client_that_does_not_read_the_response_is_disconnected(strict: ServiceProcess) -> None:
    """Its response would stay in the service's memory. Other clients are served meanwhile."""

    def are_closed() -> bool:
        assert other.get("/problems/slow-body").is_success
        return not are_open()

    with (
        httpx.Client(base_url=strict.url, headers={"Connection": "close"}) as other,
        _not_reading(strict, [(_LIST + b"\r\n") * 1000]) as are_open,
    ):
        wait_until(are_closed)
    assert httpx.get(f"{strict.url}/api/products").status_code == 200


@pytest.mark.verify
def test_a_client_that_does_not_read_the_last_bytes_is_disconnected(strict: ServiceProcess) -> None:
    """The kernel buffers most of each response. Of some, a few bytes are left in the service."""
    last = _LIST + b"Connection: close\r\n\r\n"
    requests = [(_LIST + b"\r\n") * count + last for count in range(7, 462, 7)]
    with _not_reading(strict, requests) as are_open:
        wait_until(lambda: not are_open())
    assert httpx.get(f"{strict.url}/api/products").status_code == 200


def test_pipelined_requests_all_get_a_response(strict: ServiceProcess) -> None:
    request = b"GET /api/products/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /api/products/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with _connect(strict) as connection:
        connection.sendall(request * 9 + last)
        response = _until_closed(connection)
    assert response.count(b"HTTP/1.1 200 OK") == 10
    assert response.count(b'"name":"Laptop A"') == 9


def test_the_read_timeout_starts_again_when_the_client_has_read() -> None:
    """It runs only while written bytes are waiting for the client."""

    async def main() -> None:
        config = uvicorn.Config(_no_app, log_config=None, lifespan="off", ws="none")
        protocol = protocol_with(0.01)(config=config, server_state=ServerState(), app_state={})
        transport = Mock(spec=asyncio.Transport)
        transport.get_extra_info.return_value = None
        protocol.connection_made(transport)
        protocol.pause_writing()
        protocol.resume_writing()
        await asyncio.sleep(0.1)  # a timer that still ran would have ended by now
        assert not transport.abort.called
        protocol.pause_writing()
        while not transport.abort.called:
            await asyncio.sleep(0.01)
        protocol.connection_lost(None)

    asyncio.run(main())


async def _no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("no request is sent")
