"""Wait for a driver for a limited time, even if the driver does not stop when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def wait_at_most(awaitable: Awaitable[Any], seconds: float) -> Any:
    """Await at most ``seconds``; then raise ``TimeoutError`` without waiting for the driver.

    A driver that is cancelled while its store is unresponsive may continue until its own timeout.
    So a task that timed out, or whose caller was cancelled, ends later in the background.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        abandon(task)
        raise
    if not done:
        abandon(task)
        raise TimeoutError
    return task.result()


_abandoned: set[asyncio.Future[Any]] = set()


def abandon(task: asyncio.Future[Any]) -> None:
    """Cancel a task without waiting for its end, and ignore its error."""

    def end(task: asyncio.Future[Any]) -> None:
        _abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # mark as retrieved

    _abandoned.add(task)
    task.add_done_callback(end)
    task.cancel()
