"""The deadline: no answer comes later, whatever the stores do.

It counts from when a request is there as a whole: the time in which its head and its body arrive is
the client's, and has limits of its own.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from helpers.api.problems import RETRY_SECONDS, problem
from helpers.stores.bounded_waits import abandon

# Each way of the lab takes the time that it takes: that is what is measured there.
_EXEMPT = "/lab/"

_MAY_BE_DONE = {
    "POST": " What was asked may yet be done: ask again under the same Idempotency-Key, which does "
    "it once, and tells.",
    "PUT": " What was asked may yet be done: ask again, which does no harm.",
}


class Deadline:
    """ASGI middleware. What is not answered after ``seconds`` is the problem ``too-late``.

    What was at work then is cancelled, and not waited for. An answer that has begun may end: how
    long that takes, is up to its reader.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(_EXEMPT):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        task = asyncio.ensure_future(self._app(scope, receive, answer.send))
        try:
            await asyncio.wait({task}, timeout=self._seconds)
            if answer.has_begun:
                await asyncio.wait({task})
        except asyncio.CancelledError:
            abandon(task)
            raise
        if task.done():
            task.result()
            return
        answer.is_late = True
        abandon(task)
        await self._late(scope)(scope, receive, send)

    def _late(self, scope: Scope) -> ASGIApp:
        plural = "" if self._seconds == 1 else "s"
        detail = f"There was no answer after {self._seconds:g} second{plural}."
        scope["state"]["logged"] = {"late": True}
        return problem(
            "too-late",
            detail + _MAY_BE_DONE.get(scope["method"], " Try again in a moment."),
            request_id=scope["state"]["request_id"],
            headers={"Retry-After": RETRY_SECONDS},
        )


class _Answer:
    """What is sent of an answer; nothing any more once another one was given in its place."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False
        self.is_late = False

    async def send(self, message: Message) -> None:
        if not self.is_late:
            self.has_begun = True
            await self._send(message)
