"""The deadline, round an application that does what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from helpers.api.request_deadline import Deadline

SOON = 0.02
NEVER = 3600.0

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_START: Message = {"type": "http.response.start", "status": 200, "headers": []}
_BODY: Message = {"type": "http.response.body", "body": b"here"}


def _ask(app: App, seconds: float, *, method: str = "GET", path: str = "/x") -> list[Message]:
    """Return what is sent to the client."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def main() -> None:
        scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": []}
        scope["state"] = {"request_id": "r1"}
        await Deadline(app, seconds)(scope, receive, send)
        # What was left to itself may end, and then send something.
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(main())
    return sent


async def _prompt(scope: Scope, receive: Receive, send: Send) -> None:
    await send(_START)
    await send(_BODY)


async def _never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


def test_what_comes_in_time_is_passed_on() -> None:
    assert _ask(_prompt, NEVER) == [_START, _BODY]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("GET", "after 0.02 seconds. Try again in a moment."),
        ("POST", "may yet be done: ask again under the same Idempotency-Key"),
        ("PUT", "may yet be done: ask again, which does no harm"),
    ],
)
def test_what_does_not_come_is_a_problem_that_says_what_to_do(method: str, words: str) -> None:
    start, body = _ask(_never, SOON, method=method)
    assert start["status"] == 503
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"cache-control"] == b"no-store"
    assert int(headers[b"retry-after"]) > 0
    found = orjson.loads(body["body"])
    assert (found["type"], found["request_id"]) == ("/problems/too-late", "r1")
    assert words in found["detail"]


def test_what_is_late_is_cancelled_not_waited_for_and_says_nothing_any_more() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await send(_START)
        await send(_BODY)
        raise ValueError("nobody hears this")

    start, _ = _ask(stubborn, SOON)
    assert start["status"] == 503


def test_an_answer_that_has_begun_may_end() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send(_START)
        await asyncio.sleep(5 * SOON)
        await send(_BODY)

    assert _ask(slow, SOON) == [_START, _BODY]


def test_the_lab_takes_the_time_that_it_takes() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(5 * SOON)
        await _prompt(scope, receive, send)

    assert _ask(slow, SOON, path="/lab/products/batched") == [_START, _BODY]


def test_what_goes_wrong_in_time_goes_wrong_as_before() -> None:
    async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        _ask(wrong, NEVER)


def test_who_is_cancelled_takes_his_work_with_him() -> None:
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
        task = asyncio.ensure_future(Deadline(app, NEVER)(scope, nothing, nothing))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == ["cancelled"]
