"""BoundedThreadPool: queue, cancellation, abandoned threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from helpers.api.thread_pool import BoundedThreadPool
from helpers.errors import BusyError
from tests.waiting import come, wait_until


class Gate:
    """A job that waits until the gate is opened, and counts how often it was started."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.started = 0

    def __call__(self) -> str:
        with self._lock:
            self.started += 1
        self._open.wait()
        return "done"

    def open(self) -> None:
        self._open.set()

    async def until(self, started: int) -> None:
        await come(lambda: self.started >= started)


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.open()


@pytest.fixture
def two() -> Iterator[BoundedThreadPool]:
    """Two threads, and a queue of two jobs."""
    with contextlib.closing(BoundedThreadPool("two", threads=2, waiting=2)) as pool:
        yield pool


async def _cancel(task: asyncio.Task[str]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_caller_gets_the_result_or_the_error(two: BoundedThreadPool) -> None:
    def failing() -> str:
        raise LookupError("gone")

    async def main() -> None:
        assert await two.run(lambda: 7) == 7
        with pytest.raises(LookupError, match="gone"):
            await two.run(failing)
        names = [await two.run(lambda: threading.current_thread().name) for _ in range(5)]
        assert {name.partition("_")[0] for name in names} == {"two"}
        assert two.abandoned == 0

    asyncio.run(main())


def test_many_jobs_share_the_largest_number_of_threads(gate: Gate) -> None:
    async def main() -> None:
        with contextlib.closing(BoundedThreadPool("ten", threads=10)) as pool:
            tasks = [asyncio.create_task(pool.run(gate)) for _ in range(100)]
            await gate.until(10)
            assert gate.started == 10
            gate.open()
            assert await asyncio.gather(*tasks) == ["done"] * 100
            assert gate.started == 100

    asyncio.run(main())


def test_a_full_queue_refuses_further_jobs(two: BoundedThreadPool, gate: Gate) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(two.run(gate)) for _ in range(4)]
        await gate.until(2)
        with pytest.raises(BusyError, match="nothing was started"):
            await two.run(gate)
        gate.open()
        assert await asyncio.gather(*tasks) == ["done"] * 4
        assert await two.run(gate) == "done"

    asyncio.run(main())


def test_cancelling_drops_queued_jobs_and_abandons_running_ones(
    two: BoundedThreadPool, gate: Gate
) -> None:
    async def main() -> None:
        running = [asyncio.create_task(two.run(gate)) for _ in range(2)]
        await gate.until(2)
        waiting = [asyncio.create_task(two.run(gate)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in waiting:
            await _cancel(task)
        assert two.abandoned == 0, "these were not started"
        for task in running:
            await _cancel(task)
        assert two.abandoned == 2

    asyncio.run(main())
    gate.open()
    wait_until(lambda: two.abandoned == 0)
    assert asyncio.run(two.run(lambda: gate.started)) == 2


def test_a_pool_with_only_abandoned_threads_refuses_at_once(
    two: BoundedThreadPool, gate: Gate
) -> None:
    async def main() -> None:
        for number in (1, 2):
            task = asyncio.create_task(two.run(gate))
            await gate.until(number)
            await _cancel(task)
        with pytest.raises(BusyError):
            await two.run(lambda: "never")
        gate.open()
        await come(lambda: two.abandoned == 0)
        assert await two.run(lambda: "again") == "again"

    asyncio.run(main())


def test_closing_drops_the_queue_ends_the_threads_and_refuses_new_jobs(gate: Gate) -> None:
    async def main() -> None:
        pool = BoundedThreadPool("closing", threads=1)
        running = asyncio.create_task(pool.run(gate))
        await gate.until(1)
        waiting = asyncio.create_task(pool.run(gate))
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(BusyError):
            await pool.run(gate)
        gate.open()
        assert await running == "done"
        assert gate.started == 1

    asyncio.run(main())
    wait_until(lambda: "closing_0" not in {thread.name for thread in threading.enumerate()})
