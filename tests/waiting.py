"""Waiting for what must come: a test that waits in vain fails, and says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: So long does a test wait, in seconds; on no machine does it take that long.
PATIENCE = 120.0


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until ``holds()``. Raises ``AssertionError`` after two minutes."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)


async def come(holds: Callable[[], bool]) -> None:
    """Let the event loop's other tasks work until ``holds()``.

    Raises ``AssertionError`` after two minutes.
    """
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0)
