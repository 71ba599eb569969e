"""Wait for a condition, with a timeout that fails the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

#: The default timeout, in seconds: far longer than any condition takes.
PATIENCE = 60.0


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until ``holds()``. Raises ``AssertionError`` after ``seconds``."""
    for _ in _until(holds, seconds):
        time.sleep(0.01)


async def come(holds: Callable[[], bool]) -> None:
    """Let other tasks of the event loop run until ``holds()``.

    Raises ``AssertionError`` after a minute.
    """
    for _ in _until(holds, PATIENCE):
        await asyncio.sleep(0)


def _until(holds: Callable[[], bool], seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not become true"
        yield
