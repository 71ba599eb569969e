"""Uvicorn's HTTP protocol with limits for slow clients and malformed requests.

Uvicorn waits forever for the head of a request, accepts a head of any size, and keeps a response
that the client does not read. Here all three are limited, and a malformed request gets a problem as
its response. Without ``python -m helpers serve``, name the class to uvicorn: ``--http
helpers.api.client_timeouts:SlowClientProtocol``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from helpers.api.problems import MEDIA_TYPE, PROBLEM_TYPES, problem_json

#: The largest head of a request that is accepted, in bytes.
MAX_HEAD_BYTES = 64 * 1024

# After an early response, this much of the body is read and discarded.
_MAX_DISCARDED_BYTES = 32 * 1024 * 1024

# The time for reading a response, in client timeouts: a slow network needs longer for a large one.
_READ_TIMEOUTS = 3


class _LargeHeadError(Exception):
    """The head of a request is too large."""


class SlowClientProtocol(HttpToolsProtocol):
    """One connection of a client.

    The head of a request must arrive within ``client_timeout`` seconds from its first byte, or from
    the start of the connection. The client must read a response within three times as long.
    """

    client_timeout = 10.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._discarded_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Pause as soon as bytes are left: a close would wait until the client has read them.
        transport.set_write_buffer_limits(high=0)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._read_timer is None:
            # Abort, because a close would wait until everything is written.
            self._read_timer = self.loop.call_later(
                _READ_TIMEOUTS * self.client_timeout, self.transport.abort
            )

    def resume_writing(self) -> None:
        self._stop_read_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head and self._head_timer is None:
            self._start_head_timer()
        super().data_received(data)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_head(len(name) + len(value) + len(": \r\n"))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            # Read on after an early response, so that the client receives it, but not forever.
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _MAX_DISCARDED_BYTES:
                self.transport.abort()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse("large-head", f"The head has more than {MAX_HEAD_BYTES} bytes.")
        else:
            self._refuse("not-http", msg)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _LargeHeadError  # the parser stops and calls ``send_400_response``

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.client_timeout, self._close_connection)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _close_connection(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, slug: str, detail: str) -> None:
        if self._refused or self.transport.is_closing():
            return
        body = problem_json(slug, detail)
        problem_type = PROBLEM_TYPES[slug]
        head = (
            f"HTTP/1.1 {problem_type.status} {problem_type.title}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        # If it were closed with unread input, TCP would reset it and the response would be lost.
        self._refused = True
        self.transport.write_eof()
        self._stop_head_timer()
        self._start_head_timer()


def protocol_with(client_timeout: float) -> type[SlowClientProtocol]:
    """Return the protocol with this client timeout, in seconds."""
    return type("SlowClientProtocol", (SlowClientProtocol,), {"client_timeout": client_timeout})
