"""What belongs to every request, whatever it asks: its id, its time, its line in the log.

And its end: what nobody foresaw becomes a problem with status 500.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from helpers.api.problems import problem

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class RequestLogging:
    """ASGI middleware. The state of a request gets its ``request_id`` and when it ``began``."""

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = _Answering(scope, send)
        try:
            await self._app(answering.scope, receive, answering.send)
        except ClientDisconnect:
            answering.status = 499
        except Exception as error:  # noqa: BLE001  # the last place that can answer
            self._log.error("failed", request_id=answering.request_id, exc_info=error)
            if not answering.started:
                detail = "Something is broken here: the log has more of it."
                response = problem("failed", detail, request_id=answering.request_id)
                await response(answering.scope, receive, answering.send)
        finally:
            self._log.info("request", **answering.described())


class _Answering:
    """One request on its way, and what has been sent of its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.began = time.perf_counter()
        self.request_id = _request_id(scope)
        self.status = 0
        self.started = False
        self._bytes = 0
        self._method = scope["method"]
        state = scope.setdefault("state", {})
        state["request_id"] = self.request_id
        state["began"] = self.began
        # HEAD is GET without the body.
        self.scope = {**scope, "method": "GET"} if self._method == "HEAD" else scope
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            message = {**message, "headers": self._headers(message["headers"])}
        else:
            body = message.get("body", b"")
            if self._method == "HEAD":
                message = {**message, "body": b""}
            else:
                self._bytes += len(body)
        await self._send(message)

    def described(self) -> dict[str, Any]:
        """Return the request and its answer for the log."""
        state = self.scope["state"]
        return {
            "request_id": self.request_id,
            "method": self._method,
            "path": self.scope["path"],
            "query": self.scope["query_string"].decode("latin-1"),
            "status": self.status,
            "ms": round(1000 * (time.perf_counter() - self.began), 2),
            "bytes": self._bytes,
            **state.get("logged", {}),
        }

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        total = f"total;dur={1000 * (time.perf_counter() - self.began):.2f}".encode()
        kept = []
        has_policy = False
        for name, value in headers:
            if name == b"server-timing":
                total += b", " + value
            else:
                kept.append((name, value))
                has_policy = has_policy or name == b"content-security-policy"
        if not has_policy:
            kept.append(_POLICY)
        return [
            *kept,
            *_HEADERS,
            (b"x-request-id", self.request_id.encode()),
            (b"server-timing", total),
        ]


def _request_id(scope: Scope) -> str:
    """Return the id that the client gave its request, where it is one, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            text: str = value.decode()
            return text
    return uuid.uuid4().hex
