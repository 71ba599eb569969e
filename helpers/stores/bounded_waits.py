"""Waiting for an answer for so long and no longer, whatever the driver does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def wait_at_most(asking: Awaitable[Any], seconds: float) -> Any:
    """Await an answer for so long. Raises ``TimeoutError`` then, without waiting for the driver.

    Drivers that are cancelled while their store is silent may go on until a deadline of their own.
    So what is given up, or whose caller is cancelled, ends by itself, later.
    """
    task = asyncio.ensure_future(asking)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        abandon(task)
        raise
    if not done:
        abandon(task)
        raise TimeoutError
    return task.result()


_left: set[asyncio.Future[Any]] = set()


def abandon(task: asyncio.Future[Any]) -> None:
    """Cancel what nobody waits for any more, and let it end."""

    def ended(task: asyncio.Future[Any]) -> None:
        _left.discard(task)
        if not task.cancelled():
            task.exception()  # seen: there is nobody left to tell

    _left.add(task)
    task.add_done_callback(ended)
    task.cancel()
