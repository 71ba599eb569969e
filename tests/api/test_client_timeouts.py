"""Clients that are slow on purpose: they are let go, and nobody else waits for them."""

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

# So long does a test wait for what must happen; if it does not, the test fails.
_PATIENCE = 60.0
_MANY = 100
# Answered with some nine kilobytes, and without asking any store.
_LIST = b"GET /lab/products/constant HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def impatient(shop: Stores) -> Iterator[ServiceProcess]:
    """A service with little patience."""
    with serving(shop, patience=0.5, lab=True) as running:
        yield running


@contextlib.contextmanager
def _connections(service: ServiceProcess, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(_connect(service)) for _ in range(count)]


def _connect(service: ServiceProcess) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=_PATIENCE)


def _until_closed(connection: socket.socket) -> bytes:
    """Return what still comes, once the service has closed the connection."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            answer += part
    return answer


def test_who_says_nothing_is_let_go(impatient: ServiceProcess) -> None:
    with _connections(impatient, _MANY) as silent:
        assert httpx.get(f"{impatient.url}/api/products").status_code == 200
        assert [_until_closed(one) for one in silent] == [b""] * _MANY


def test_who_never_ends_the_head_is_let_go(impatient: ServiceProcess) -> None:
    with _connections(impatient, _MANY) as slow:
        for one in slow:
            one.sendall(b"GET /api/products HTTP/1.1\r\nHost: x\r\nX-Slow: a")
        assert httpx.get(f"{impatient.url}/api/products").status_code == 200
        assert [_until_closed(one) for one in slow] == [b""] * _MANY


def test_a_second_request_has_a_head_in_time_too(impatient: ServiceProcess) -> None:
    with _connect(impatient) as one:
        one.sendall(b"GET /api/products/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 200")
        one.sendall(b"GET /api/products/1 HTTP/1.1\r\nHost:")
        _until_closed(one)


def test_a_body_that_does_not_come_is_a_problem(impatient: ServiceProcess) -> None:
    head = (
        "PUT /api/products/1/stock HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {impatient.token}\r\nContent-Length: 20\r\n\r\n"
    )
    with _connections(impatient, 20) as slow:
        for one in slow:
            one.sendall(head.encode() + b'{"on_hand"')
        assert httpx.get(f"{impatient.url}/api/products").status_code == 200
        for one in slow:
            answer = _until_closed(one)
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"/problems/slow-body" in answer
    assert httpx.get(f"{impatient.url}/api/products/1").json()["stock"] == "15"


@contextlib.contextmanager
def _deaf(service: ServiceProcess, requests: list[bytes]) -> Iterator[Callable[[], bool]]:
    """Send each of the ``requests`` on a connection of its own, and read nothing.

    Yield what tells whether the service still has one of them.
    """
    parts = urlsplit(service.url)
    process = psutil.Process(service.pid)

    def are_held() -> bool:
        return any(
            one.laddr.port == parts.port and one.status == psutil.CONN_ESTABLISHED
            for one in process.net_connections("tcp")
        )

    with contextlib.ExitStack() as opened:
        for request in requests:
            deaf = opened.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(_PATIENCE)
            deaf.connect((parts.hostname, parts.port))
            deaf.sendall(request)
        yield are_held


def test_who_does_not_read_the_answer_is_let_go(impatient: ServiceProcess) -> None:
    """Without end it would keep an answer in the service's memory; meanwhile others are served."""

    def are_gone() -> bool:
        assert other.get("/problems/slow-body").is_success
        return not are_held()

    with (
        httpx.Client(base_url=impatient.url, headers={"Connection": "close"}) as other,
        _deaf(impatient, [(_LIST + b"\r\n") * 1000]) as are_held,
    ):
        wait_until(are_gone)
    assert httpx.get(f"{impatient.url}/api/products").status_code == 200


@pytest.mark.verify
def test_who_leaves_the_rest_of_an_answer_unread_is_let_go(impatient: ServiceProcess) -> None:
    """The system takes the most of the answers; of one of these a little is left over."""
    last = _LIST + b"Connection: close\r\n\r\n"
    requests = [(_LIST + b"\r\n") * count + last for count in range(7, 462, 7)]
    with _deaf(impatient, requests) as are_held:
        wait_until(lambda: not are_held())
    assert httpx.get(f"{impatient.url}/api/products").status_code == 200


def test_requests_one_after_another_in_one_packet_are_all_answered(
    impatient: ServiceProcess,
) -> None:
    request = b"GET /api/products/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /api/products/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with _connect(impatient) as one:
        one.sendall(request * 9 + last)
        answer = _until_closed(one)
    assert answer.count(b"HTTP/1.1 200 OK") == 10
    assert answer.count(b'"name":"Laptop A"') == 9


def test_a_reader_that_makes_room_in_time_is_kept() -> None:
    """And one that does not is let go: the time begins anew with each answer that finds no room."""

    async def main() -> None:
        config = uvicorn.Config(_no_app, log_config=None, lifespan="off", ws="none")
        protocol = protocol_with(0.01)(config=config, server_state=ServerState(), app_state={})
        transport = Mock(spec=asyncio.Transport)
        transport.get_extra_info.return_value = None
        protocol.connection_made(transport)
        protocol.pause_writing()
        protocol.resume_writing()
        await asyncio.sleep(0.1)  # a time limit that still ran would be over before
        assert not transport.abort.called
        protocol.pause_writing()
        while not transport.abort.called:
            await asyncio.sleep(0.01)
        protocol.connection_lost(None)

    asyncio.run(main())


async def _no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nothing is asked")
