"""Who may write, and how much may be sent: looked at before anything of the body is read."""

from __future__ import annotations

import asyncio
import hmac

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from helpers.api.problems import problem

#: The largest body that any request needs, in bytes.
MOST_BYTES = 64 * 1024

_READING = {"GET", "HEAD", "OPTIONS", "TRACE"}


class Guard:
    """ASGI middleware. Requests that may write need ``token``, and a small body of JSON.

    The body must be there within ``body_seconds``.
    """

    def __init__(self, app: ASGIApp, token: str, body_seconds: float) -> None:
        self._app = app
        self._authorization = f"Bearer {token}".encode()
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer what is wrong with it."""
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refused = self._refused(headers)
        body = b""
        if refused is None:
            try:
                async with asyncio.timeout(self._body_seconds):
                    body = await _read(receive)
            except TimeoutError:
                seconds = f"{self._body_seconds:g} seconds"
                detail = f"The body was not complete after {seconds}."
                refused = "slow-body", detail, {"Connection": "close"}
            if len(body) > MOST_BYTES:
                refused = _too_large()
        if refused is None:
            await self._app(scope, _replaying(body, receive), send)
            return
        kind, detail, more = refused
        request_id = scope["state"]["request_id"]
        response = problem(kind, detail, request_id=request_id, headers=more)
        await response(scope, receive, send)

    def _refused(self, headers: dict[bytes, bytes]) -> tuple[str, str, dict[str, str]] | None:
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, self._authorization):
            what = "is not the right one" if given else "is missing"
            challenge = {"WWW-Authenticate": 'Bearer realm="shop"'}
            return "no-token", f"The token {what}.", challenge
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            return "not-json", "The body must be JSON, and be called application/json.", {}
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MOST_BYTES:
            return _too_large()
        return None


def _too_large() -> tuple[str, str, dict[str, str]]:
    return "large-body", f"The body has more than {MOST_BYTES} bytes.", {}


async def _read(receive: Receive) -> bytes:
    """Return the body; as soon as it is too large, what there is of it."""
    body = b""
    while len(body) <= MOST_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body once, and then what ``receive`` gives."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
