"""Waiting for what must come: a test that waits in vain fails, and says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

#: So long does a test wait, in seconds; on no machine does it take that long.
PATIENCE = 60.0


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until ``holds()``. Raises ``AssertionError`` after ``seconds``."""
    for _ in _until(holds, seconds):
        time.sleep(0.01)


async def come(holds: Callable[[], bool]) -> None:
    """Let the event loop's other tasks work until ``holds()``.

    Raises ``AssertionError`` after a minute.
    """
    for _ in _until(holds, PATIENCE):
        await asyncio.sleep(0)


def _until(holds: Callable[[], bool], seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        yield
