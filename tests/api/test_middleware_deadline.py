"""RequestDeadline, with small ASGI applications in place of the service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from helpers.api.middleware import RequestDeadline

SOON = 0.02
NEVER = 3600.0

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_START: Message = {"type": "http.response.start", "status": 200, "headers": []}
_BODY: Message = {"type": "http.response.body", "body": b"here"}


def _request(app: App, seconds: float, *, method: str = "GET", path: str = "/x") -> list[Message]:
    """Return the messages that are sent to the client."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def main() -> None:
        scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": []}
        scope["state"] = {"request_id": "r1"}
        await RequestDeadline(app, seconds)(scope, receive, send)
        # Let an abandoned task end: it may try to send.
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(main())
    return sent


async def _prompt(scope: Scope, receive: Receive, send: Send) -> None:
    await send(_START)
    await send(_BODY)


async def _never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


def test_a_response_in_time_is_sent_unchanged() -> None:
    assert _request(_prompt, NEVER) == [_START, _BODY]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("GET", "after 0.02 seconds. Try again in a moment."),
        ("POST", "may still be placed: retry with the same Idempotency-Key"),
        ("PUT", "may still be made: retry, which is safe"),
    ],
)
def test_a_late_response_is_replaced_by_a_problem_with_advice(method: str, words: str) -> None:
    start, body = _request(_never, SOON, method=method)
    assert start["status"] == 503
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"cache-control"] == b"no-store"
    assert int(headers[b"retry-after"]) > 0
    found = orjson.loads(body["body"])
    assert (found["type"], found["request_id"]) == ("/problems/timeout", "r1")
    assert words in found["detail"]


def test_a_late_handler_is_cancelled_and_its_output_discarded() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await send(_START)
        await send(_BODY)
        raise ValueError("ignored")

    start, _ = _request(stubborn, SOON)
    assert start["status"] == 503


def test_a_response_that_has_started_may_finish() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send(_START)
        await asyncio.sleep(5 * SOON)
        await send(_BODY)

    assert _request(slow, SOON) == [_START, _BODY]


def test_the_lab_has_no_deadline() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(5 * SOON)
        await _prompt(scope, receive, send)

    assert _request(slow, SOON, path="/lab/products/batched") == [_START, _BODY]


def test_an_error_in_time_is_raised() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        _request(failing, NEVER)


def test_cancelling_the_request_cancels_its_handler() -> None:
    ended: list[str] = []

    async def main() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        async def nothing(*_: Any) -> Any:
            raise AssertionError

        scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "state": {}}
        task = asyncio.ensure_future(RequestDeadline(app, NEVER)(scope, nothing, nothing))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == ["cancelled"]
