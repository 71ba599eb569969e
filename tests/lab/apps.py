"""A small HTTP server for the tests: it records requests, and responds as the path says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY = b"x" * 240_000


@dataclass
class Site:
    """An ASGI application, and the requests that it has received.

    It responds with 200 and ``BODY``, or as the path says: ``/status/503``, ``/chunks``,
    ``/closed`` (closes the connection after the response), ``/broken`` (closes it within the
    response), ``/together`` (when ``concurrent`` requests are there), ``/late`` (after ``delay``
    seconds), ``/never``, ``/lacking/X-Missing-Stores`` (with that header).
    """

    concurrent: int = 1
    delay: float = 0.0
    paths: Counter[str] = field(default_factory=Counter)
    clients: set[tuple[str, int]] = field(default_factory=set)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)

    def forget(self) -> None:
        """Forget the received requests."""
        self.paths.clear()
        self.clients.clear()
        self.headers.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.paths[path] += 1
        self.clients.add(scope["client"])
        self.headers.append(dict(scope["headers"]))
        if path == "/never":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if path == "/together":
            await self._gather(self.paths[path])
        if path == "/late":
            await asyncio.sleep(self.delay)
        if path == "/chunks":
            await _respond(send, 200, [b"one", b"two", b"three"], [])
        elif path == "/broken":
            await _respond(send, 200, [b"only this"], [(b"content-length", b"1000")])
        elif path == "/closed":
            await _respond(send, 200, [b"last"], [(b"connection", b"close")])
        elif path.startswith("/lacking/"):
            header = path.removeprefix("/lacking/").lower().encode()
            await _respond(send, 200, [b"some"], [(header, b"one")])
        elif path.startswith("/status/"):
            status = int(path.removeprefix("/status/"))
            await _respond(send, status, [b""], [])
        else:
            await _respond(send, 200, [BODY], [(b"content-length", b"%d" % len(BODY))])

    async def _gather(self, number: int) -> None:
        """Wait until the group of requests is complete that the request with this number is in."""
        while self.paths["/together"] < -(-number // self.concurrent) * self.concurrent:
            await asyncio.sleep(0.001)


async def _respond(
    send: Send, status: int, parts: list[bytes], headers: list[tuple[bytes, bytes]]
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": part != parts[-1]})


@contextlib.contextmanager
def site(**settings: Any) -> Iterator[tuple[Site, str]]:
    """Serve a ``Site`` on a free port in a thread; yield it and its address."""
    app = Site(**settings)
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        try:
            yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
