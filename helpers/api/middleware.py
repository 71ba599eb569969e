"""ASGI middleware around every route: request logging, authentication and body limit, deadline.

A request passes them in this order. They work on raw ASGI messages, because Starlette's
``BaseHTTPMiddleware`` would add a task and a queue to every request.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
import uuid
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from helpers.api.problems import RETRY_SECONDS, problem_response
from helpers.stores.bounded_waits import abandon

#: The largest request body that is accepted, in bytes. No valid request needs more.
MAX_BODY_BYTES = 64 * 1024

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}

# The lab's routes are measured, so they take the time they need.
_NO_DEADLINE = "/lab/"
_RETRY_ADVICE = {
    "POST": " The order may still be placed: retry with the same Idempotency-Key, which places it "
    "only once.",
    "PUT": " The change may still be made: retry, which is safe.",
}


class RequestLogging:
    """Give each request an id, log it as one line, and turn unexpected errors into status 500.

    Sets ``request_id`` and ``began`` (on ``time.perf_counter()``) in the state of the request.
    Routes may add fields to the line with ``request.state.logged``.
    """

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _LoggedResponse(scope, send)
        try:
            await self._app(response.scope, receive, response.send)
        except ClientDisconnect:
            response.status = 499
        except Exception as error:  # noqa: BLE001  # nothing above this could respond
            self._log.error("failed", request_id=response.request_id, exc_info=error)
            if not response.started:
                detail = "The server failed to handle the request: its log has the error."
                failed = problem_response("internal-error", detail, request_id=response.request_id)
                await failed(response.scope, receive, response.send)
        finally:
            self._log.info("request", **response.log_fields())


class _LoggedResponse:
    """The response to one request, observed while it is sent."""

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
        """Send one message of the response, with the headers that every response has."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            message = {**message, "headers": self._headers(message["headers"])}
        elif self._method == "HEAD":
            message = {**message, "body": b""}
        else:
            self._bytes += len(message.get("body", b""))
        await self._send(message)

    def log_fields(self) -> dict[str, Any]:
        """Return the request and its response as fields of a log line."""
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
        timing = f"total;dur={1000 * (time.perf_counter() - self.began):.2f}".encode()
        kept = []
        has_policy = False
        for name, value in headers:
            if name == b"server-timing":
                timing += b", " + value
            else:
                kept.append((name, value))
                has_policy = has_policy or name == b"content-security-policy"
        if not has_policy:
            kept.append(_POLICY)
        return [
            *kept,
            *_HEADERS,
            (b"x-request-id", self.request_id.encode()),
            (b"server-timing", timing),
        ]


def _request_id(scope: Scope) -> str:
    """Return the client's ``X-Request-ID`` if it is valid, or a new id."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            text: str = value.decode()
            return text
    return uuid.uuid4().hex


class AuthenticationAndBodyLimit:
    """Refuse a write without the bearer ``token`` or with a body that is not small JSON.

    The body must arrive completely within ``body_seconds``. Credentials are checked before the
    body is read, so that a stranger cannot make the server read anything.
    """

    def __init__(self, app: ASGIApp, token: str, body_seconds: float) -> None:
        self._app = app
        self._token = token.encode()
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a valid request on, or respond with a problem."""
        if scope["type"] != "http" or scope["method"] in _SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        refusal = self._check_headers(scope["headers"])
        body = b""
        if refusal is None:
            try:
                async with asyncio.timeout(self._body_seconds):
                    body = await _read_body(receive)
            except TimeoutError:
                detail = f"The body was not complete after {self._body_seconds:g} seconds."
                refusal = "slow-body", detail, {"Connection": "close"}
            if len(body) > MAX_BODY_BYTES:
                refusal = _too_large()
        if refusal is None:
            await self._app(scope, _replay(body, receive), send)
            return
        slug, detail, headers = refusal
        request_id = scope["state"]["request_id"]
        response = problem_response(slug, detail, request_id=request_id, headers=headers)
        await response(scope, receive, send)

    def _check_headers(
        self, pairs: list[tuple[bytes, bytes]]
    ) -> tuple[str, str, dict[str, str]] | None:
        """Return the problem type, detail and headers of a refusal, or ``None``."""
        headers = dict(pairs)
        # Of several credentials, a proxy might have checked another one than this.
        given = [value for name, value in pairs if name == b"authorization"]
        authorization = given[0] if len(given) == 1 else b", ".join(given)
        # The scheme is case-insensitive, the token is not (RFC 9110, 11.1).
        scheme, _, token = authorization.partition(b" ")
        is_bearer = scheme.lower() == b"bearer"
        if not hmac.compare_digest(token.strip(b" "), self._token) or not is_bearer:
            reason = "is not the right one" if authorization else "is missing"
            challenge = {"WWW-Authenticate": 'Bearer realm="shop"'}
            return "unauthorized", f"The token {reason}.", challenge
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if content_type != b"application/json":
            return "not-json", "The Content-Type must be application/json.", {}
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding != b"identity":
            detail = "The body must not be compressed: leave Content-Encoding out."
            return "not-json", detail, {"Accept-Encoding": "identity"}
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _too_large()
        return None


def _too_large() -> tuple[str, str, dict[str, str]]:
    return "large-body", f"The body has more than {MAX_BODY_BYTES} bytes.", {}


async def _read_body(receive: Receive) -> bytes:
    """Return the body, or its beginning as soon as that is too large."""
    body = b""
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``body`` once, then what ``receive`` gives."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


class RequestDeadline:
    """Respond with the problem ``timeout`` if no response has started after ``seconds``.

    The time counts from when the whole request has arrived: how fast it arrives depends on the
    client, and is limited elsewhere. The handler is cancelled and not waited for, because a
    blocked store can delay cancellation. A response that has started may finish.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(_NO_DEADLINE):
            await self._app(scope, receive, send)
            return
        response = _DiscardableResponse(send)
        task = asyncio.ensure_future(self._app(scope, receive, response.send))
        try:
            await asyncio.wait({task}, timeout=self._seconds)
            if response.has_started:
                await asyncio.wait({task})
        except asyncio.CancelledError:
            abandon(task)
            raise
        if task.done():
            task.result()
            return
        response.is_discarded = True
        abandon(task)
        await self._timeout_response(scope)(scope, receive, send)

    def _timeout_response(self, scope: Scope) -> ASGIApp:
        plural = "" if self._seconds == 1 else "s"
        detail = f"No response was ready after {self._seconds:g} second{plural}."
        scope["state"]["logged"] = {"timeout": True}
        return problem_response(
            "timeout",
            detail + _RETRY_ADVICE.get(scope["method"], " Try again in a moment."),
            request_id=scope["state"]["request_id"],
            headers={"Retry-After": RETRY_SECONDS},
        )


class _DiscardableResponse:
    """Send a response until another one is sent in its place."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False
        self.is_discarded = False

    async def send(self, message: Message) -> None:
        if not self.is_discarded:
            self.has_started = True
            await self._send(message)
