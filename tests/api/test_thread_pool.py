"""BoundedThreadPool: work that blocks, in threads that nobody has to wait for."""

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
    """Work that waits until it is let go, and counts how often it was begun."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.begun = 0

    def __call__(self) -> str:
        with self._lock:
            self.begun += 1
        self._open.wait()
        return "done"

    def open(self) -> None:
        self._open.set()

    async def until(self, begun: int) -> None:
        await come(lambda: self.begun >= begun)


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.open()


@pytest.fixture
def two() -> Iterator[BoundedThreadPool]:
    """Two threads, and a line of two."""
    with contextlib.closing(BoundedThreadPool("two", threads=2, waiting=2)) as errands:
        yield errands


async def _cancel(task: asyncio.Task[str]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_work_returns_and_raises_is_the_callers(two: BoundedThreadPool) -> None:
    def wrong() -> str:
        raise LookupError("gone")

    async def main() -> None:
        assert await two.run(lambda: 7) == 7
        with pytest.raises(LookupError, match="gone"):
            await two.run(wrong)
        names = [await two.run(lambda: threading.current_thread().name) for _ in range(5)]
        assert set(names) == {"two"}
        assert two.left == 0

    asyncio.run(main())


def test_many_are_done_by_as_many_threads_as_there_may_be(gate: Gate) -> None:
    async def main() -> None:
        with contextlib.closing(BoundedThreadPool("ten", threads=10)) as errands:
            tasks = [asyncio.create_task(errands.run(gate)) for _ in range(100)]
            await gate.until(10)
            assert repr(errands) == "<BoundedThreadPool ten, 10 threads, 0 left>"
            gate.open()
            assert await asyncio.gather(*tasks) == ["done"] * 100
            assert gate.begun == 100

    asyncio.run(main())


def test_the_line_is_as_long_as_it_may_be(two: BoundedThreadPool, gate: Gate) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(two.run(gate)) for _ in range(4)]
        await gate.until(2)
        with pytest.raises(BusyError, match="nothing was begun"):
            await two.run(gate)
        gate.open()
        assert await asyncio.gather(*tasks) == ["done"] * 4
        assert await two.run(gate) == "done"

    asyncio.run(main())


def test_who_leaves_is_not_kept_and_what_has_not_begun_never_begins(
    two: BoundedThreadPool, gate: Gate
) -> None:
    async def main() -> None:
        running = [asyncio.create_task(two.run(gate)) for _ in range(2)]
        await gate.until(2)
        waiting = [asyncio.create_task(two.run(gate)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in waiting:
            await _cancel(task)
        assert two.left == 0, "these had not begun"
        for task in running:
            await _cancel(task)
        assert two.left == 2

    asyncio.run(main())
    gate.open()
    wait_until(lambda: two.left == 0)
    assert asyncio.run(two.run(lambda: gate.begun)) == 2


def test_where_all_threads_work_for_nobody_the_next_one_is_refused_at_once(
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
        await come(lambda: two.left == 0)
        assert await two.run(lambda: "again") == "again"

    asyncio.run(main())


def test_what_is_closed_drops_its_line_ends_its_threads_and_takes_nothing(gate: Gate) -> None:
    async def main() -> None:
        errands = BoundedThreadPool("closing", threads=1)
        running = asyncio.create_task(errands.run(gate))
        await gate.until(1)
        waiting = asyncio.create_task(errands.run(gate))
        await asyncio.sleep(0)
        errands.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(BusyError):
            await errands.run(gate)
        gate.open()
        assert await running == "done"
        assert gate.begun == 1

    asyncio.run(main())
    wait_until(lambda: "closing" not in {thread.name for thread in threading.enumerate()})
