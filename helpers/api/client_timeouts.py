"""Uvicorn's HTTP protocol, for clients that are slow or say nonsense.

Uvicorn waits without end for a request whose head does not arrive, takes a head of any length, and
keeps an answer that nobody reads. Here a head has a time and a length, and so has the patience with
a reader; what is no HTTP is answered with a problem, too.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from helpers.api.problems import KINDS, MEDIA_TYPE, problem_json

#: So long may a head be, in bytes.
MOST_HEAD_BYTES = 64 * 1024


# So much of a body that nobody wants is read and thrown away.
_MOST_UNREAD_BYTES = 32 * 1024 * 1024

# A slow network takes its time to carry a long answer.
_READING = 3


class _LargeHeadError(Exception):
    """A head has become too large."""


class SlowClientProtocol(HttpToolsProtocol):
    """One connection of a client.

    The head of a request may take ``patience`` seconds from its first byte, or from the beginning
    of the connection; and three times as long may pass until what is written has found room.
    """

    patience = 10.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._unread_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Whatever is left over counts: closed with it, the connection would wait for its reader.
        transport.set_write_buffer_limits(high=0)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_reading()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading is None:
            # Not closed: that would wait until all is written.
            self._reading = self.loop.call_later(_READING * self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_reading()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head and self._deadline is None:
            self._await_head()
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
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            # Refused before it was all sent: read on, so that the answer is, but not without end.
            self._unread_bytes += len(body)
            if self._unread_bytes > _MOST_UNREAD_BYTES:
                self.transport.abort()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse("large-head", f"The head has more than {MOST_HEAD_BYTES} bytes.")
        else:
            self._refuse("not-http", msg)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            raise _LargeHeadError  # the parser stops, and ``send_400_response`` is called

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.patience, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, kind: str, detail: str) -> None:
        if self._refused or self.transport.is_closing():
            return
        body = problem_json(kind, detail)
        found = KINDS[kind]
        head = (
            f"HTTP/1.1 {found.status} {found.title}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        # Closed at once, with something still to read, the answer would be thrown away.
        self._refused = True
        self.transport.write_eof()
        self._stop_waiting()
        self._await_head()


def protocol_with(patience: float) -> type[SlowClientProtocol]:
    """Return the protocol with another patience, in seconds."""
    return type("SlowClientProtocol", (SlowClientProtocol,), {"patience": patience})
