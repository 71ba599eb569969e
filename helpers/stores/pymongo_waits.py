"""Make PyMongo's waits for a condition safe to cancel on Python 3.11.

``asyncio.wait_for`` of Python 3.11 waits in a separate task. When the timeout expires, that task
acquires the condition's lock again. If the caller is cancelled at that moment, ``wait_for`` does
not wait for the task: the caller releases a lock that it does not hold, and the task keeps the
lock. From then on every operation of the client fails, although MongoDB is available again.

Python 3.12 has a ``wait_for`` without such a task. The one here does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from pymongo import lock

T = TypeVar("T")


async def wait_for(awaitable: Awaitable[T], timeout: float | None) -> T:
    """Await in the caller's task. Raises ``TimeoutError`` after ``timeout`` seconds."""
    async with asyncio.timeout(timeout):
        return await awaitable


def make_cancellable() -> None:
    """Let all PyMongo clients in this process wait with the ``wait_for`` above."""
    setattr(lock, "wait_for", wait_for)  # noqa: B010 - the module exports no such name
