"""Cancelling a wait of PyMongo releases its lock."""

from __future__ import annotations

import asyncio
import sys

import pytest
from pymongo import lock

from helpers.stores.pymongo_waits import make_cancellable
from tests.waiting import come


async def _is_locked_after_a_cancellation() -> bool:
    """Cancel a wait that has timed out when its lock is released; return whether it is locked."""
    held = lock._async_create_lock()
    condition = lock._async_create_condition(held)

    async def wait() -> None:
        async with condition:
            await lock._async_cond_wait(condition, 0.001)

    waiting = asyncio.create_task(wait())
    await come(lambda: bool(condition._waiters))
    async with held:
        await come(lambda: bool(held._waiters))  # it has timed out and waits for the lock
        waiting.cancel()
    await asyncio.wait({waiting})
    await asyncio.gather(waiting, return_exceptions=True)
    for _ in range(10):
        await asyncio.sleep(0)
    return held.locked()


def test_a_cancelled_wait_releases_the_lock() -> None:
    make_cancellable()
    assert not asyncio.run(_is_locked_after_a_cancellation())


def test_a_wait_tells_whether_it_timed_out() -> None:
    make_cancellable()

    async def waits() -> list[bool]:
        condition = lock._async_create_condition(lock._async_create_lock())

        async def notify() -> None:
            async with condition:
                condition.notify()

        async with condition:
            late = await lock._async_cond_wait(condition, 0.001)
            notifying = asyncio.create_task(notify())
            found = [late, await lock._async_cond_wait(condition, None)]
        await notifying
        return found

    assert asyncio.run(waits()) == [False, True]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python's own wait_for is safe there")
def test_pythons_own_wait_for_keeps_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "wait_for", asyncio.wait_for)
    assert asyncio.run(_is_locked_after_a_cancellation())
