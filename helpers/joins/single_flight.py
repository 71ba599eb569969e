"""Single flight: concurrent callers of the same key share a read that is never stale.

Usually, callers join a read that is in progress. But that read may already have passed a value that
was written since, so a caller who knows that the write was acknowledged could get the old value.
Here, callers never join a read that started before they called: all who call while it runs share
the next one. Per key, at most one read runs and one waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    """One read, the number of callers that wait for it, and the read that must end before it."""

    def __init__(self, read: Callable[[], Awaitable[V]], before: _Flight[V] | None) -> None:
        self.read = read
        self.before = before
        self.callers = 0
        self.started = False
        self.task: asyncio.Task[V]


class SingleFlight(Generic[K, V]):
    """Shares each read of a key among the callers that called before it started."""

    def __init__(self) -> None:
        # The flight that was planned last, by key. Earlier ones are known to their callers only.
        self._last: dict[K, _Flight[V]] = {}

    async def read(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        """Return the result of a read of ``key`` that starts after this call.

        ``read`` is called unless a read of the key is already waiting to start. All callers that
        share a read get its error; no result is cached. Cancelling a caller cancels the read only
        if it was the last one.
        """
        flight = self._last.get(key)
        if flight is None or flight.started:
            flight = self._plan(key, read, before=flight)
        flight.callers += 1
        try:
            # Shielded: cancelling one caller must not cancel the task for the others.
            return await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            if not flight.callers and not flight.task.done():
                await self._cancel(key, flight)

    def __len__(self) -> int:
        """Return the number of keys with a read that runs or waits."""
        return len(self._last)

    def _plan(
        self, key: K, read: Callable[[], Awaitable[V]], before: _Flight[V] | None
    ) -> _Flight[V]:
        flight = self._last[key] = _Flight(read, before)
        flight.task = asyncio.get_running_loop().create_task(self._run(flight))
        flight.task.add_done_callback(lambda task: self._end(key, flight, task))
        return flight

    @staticmethod
    async def _run(flight: _Flight[V]) -> V:
        if flight.before is not None:
            await asyncio.wait([flight.before.task])
            flight.before = None
        flight.started = True
        return await flight.read()

    async def _cancel(self, key: K, flight: _Flight[V]) -> None:
        is_waiting = flight.before is not None and not flight.before.task.done()
        if flight.before is not None and is_waiting and self._last.get(key) is flight:
            # It never started: the next caller waits for the read that runs.
            self._last[key] = flight.before
        flight.started = True  # so that no caller joins it
        flight.task.cancel()
        await asyncio.wait([flight.task])

    def _end(self, key: K, flight: _Flight[V], task: asyncio.Task[V]) -> None:
        if self._last.get(key) is flight:
            del self._last[key]
        if not task.cancelled():
            task.exception()  # mark as retrieved: all callers may have been cancelled
