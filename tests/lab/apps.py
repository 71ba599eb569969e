"""A small HTTP server for the tests: it counts who asks what, and answers as it is told."""

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
    """What answers, and what it has seen.

    It answers 200 with ``BODY``, and else what the path says: ``/status/503``, ``/chunks``,
    ``/closed`` (the connection ends with the answer), ``/broken`` (it ends within the answer),
    ``/together`` (when ``crowd`` are there), ``/late`` (after ``delay`` seconds), ``/never``,
    ``/lacking/X-Missing-Stores`` (with that header).
    """

    crowd: int = 1
    delay: float = 0.0
    paths: Counter[str] = field(default_factory=Counter)
    clients: set[tuple[str, int]] = field(default_factory=set)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)

    def forget(self) -> None:
        """Forget what it has seen."""
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
            await _answer(send, 200, [b"one", b"two", b"three"], [])
        elif path == "/broken":
            await _answer(send, 200, [b"only this"], [(b"content-length", b"1000")])
        elif path == "/closed":
            await _answer(send, 200, [b"last"], [(b"connection", b"close")])
        elif path.startswith("/lacking/"):
            header = path.removeprefix("/lacking/").lower().encode()
            await _answer(send, 200, [b"some"], [(header, b"one")])
        elif path.startswith("/status/"):
            status = int(path.removeprefix("/status/"))
            await _answer(send, status, [b""], [])
        else:
            await _answer(send, 200, [BODY], [(b"content-length", b"%d" % len(BODY))])

    async def _gather(self, number: int) -> None:
        """Wait until the crowd is there that the one with this number belongs to."""
        while self.paths["/together"] < -(-number // self.crowd) * self.crowd:
            await asyncio.sleep(0.001)


async def _answer(
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
