"""Single flight: many who ask the same at the same time share a read, and none gets an old answer.

Usually whoever comes while a read is running joins it. But that read may have passed the place
where something was written since; then a reader who was told that the write is done gets what was
there before. So here nobody joins a read that began before he came: those who come meanwhile share
the next one. However many there are, at most one read of a key runs, and one waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    """One read: those who wait for it, and the task that does it."""

    def __init__(self, read: Callable[[], Awaitable[V]], before: _Flight[V] | None) -> None:
        self.read = read
        self.before = before
        self.passengers = 0
        self.begun = False
        self.task: asyncio.Task[V]


class SingleFlight(Generic[K, V]):
    """Shares reads of the same key among those who came before they began."""

    def __init__(self) -> None:
        # By key: the flight that was planned last. Those before it are known to their passengers.
        self._last: dict[K, _Flight[V]] = {}

    async def read(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        """Return what a read of ``key`` returns that begins after this call.

        ``read`` is used where no read is waiting to begin. What it raises, everybody gets who
        shares it; nothing is remembered. Whoever is cancelled leaves; the read is cancelled with
        the last of them.
        """
        flight = self._last.get(key)
        if flight is None or flight.begun:
            flight = self._plan(key, read, before=flight)
        flight.passengers += 1
        try:
            # Not the task itself: who is cancelled must not cancel it for the others.
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if not flight.passengers and not flight.task.done():
                await self._cancel(key, flight)

    def __len__(self) -> int:
        """Return of how many keys a read is running or waiting."""
        return len(self._last)

    def _plan(
        self, key: K, read: Callable[[], Awaitable[V]], before: _Flight[V] | None
    ) -> _Flight[V]:
        flight = self._last[key] = _Flight(read, before)
        flight.task = asyncio.get_running_loop().create_task(self._fly(flight))
        flight.task.add_done_callback(lambda task: self._landed(key, flight, task))
        return flight

    @staticmethod
    async def _fly(flight: _Flight[V]) -> V:
        if flight.before is not None:
            await asyncio.wait([flight.before.task])
            flight.before = None
        flight.begun = True
        return await flight.read()

    async def _cancel(self, key: K, flight: _Flight[V]) -> None:
        runs = flight.before is not None and not flight.before.task.done()
        if flight.before is not None and runs and self._last.get(key) is flight:
            # It never began: whoever comes next waits for the one that runs.
            self._last[key] = flight.before
        flight.begun = True  # nobody is to join what is being cancelled
        flight.task.cancel()
        await asyncio.wait([flight.task])

    def _landed(self, key: K, flight: _Flight[V], task: asyncio.Task[V]) -> None:
        if self._last.get(key) is flight:
            del self._last[key]
        if not task.cancelled():
            task.exception()  # seen, also where everybody has left
