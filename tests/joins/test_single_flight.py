"""Single flight: few reads for many callers, and no stale result."""

from __future__ import annotations

import asyncio
import random

import pytest

from helpers.joins import SingleFlight
from tests.waiting import come


class _Store:
    """A value that is read at the start of a request and returned at its end, as stores do."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = self.running = self.most = 0
        self.gate = asyncio.Event()

    async def read(self) -> int:
        self.reads += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            seen = self.value
            await self.gate.wait()
            return seen
        finally:
            self.running -= 1


async def _until_reads(store: _Store, reads: int) -> None:
    await come(lambda: store.reads >= reads)


def test_callers_share_a_read_that_has_not_started() -> None:
    async def main() -> None:
        store, flights = _Store(), SingleFlight[str, int]()
        store.gate.set()
        values = await asyncio.gather(*(flights.read("a", store.read) for _ in range(50)))
        assert (values, store.reads, len(flights)) == ([0] * 50, 1, 0)

    asyncio.run(main())


def test_a_caller_during_a_read_waits_for_the_next_and_sees_later_writes() -> None:
    async def main() -> None:
        store, flights = _Store(), SingleFlight[str, int]()
        early = asyncio.ensure_future(flights.read("a", store.read))
        await _until_reads(store, 1)
        store.value = 1  # acknowledged: all later callers must see it
        late = [asyncio.ensure_future(flights.read("a", store.read)) for _ in range(20)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert store.reads == 1, "one read of a key at a time"
        store.gate.set()
        assert await early == 0
        assert await asyncio.gather(*late) == [1] * 20
        assert (store.reads, store.most) == (2, 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.verify) for seed in range(2, 20))]
)
def test_no_reader_gets_a_value_older_than_the_last_acknowledged_write(  # noqa: C901
    seed: int,
) -> None:
    async def main() -> None:
        store, flights, draw = _Store(), SingleFlight[str, int](), random.Random(seed)
        done = False

        async def steps() -> None:
            for _ in range(draw.randrange(6)):
                await asyncio.sleep(0)

        async def read() -> int:
            seen = store.value
            await steps()
            return seen

        async def reader() -> None:
            while not done:
                acknowledged = store.value
                assert await flights.read("a", read) >= acknowledged
                await steps()

        async def cancelling_reader() -> None:
            while not done:
                task = asyncio.ensure_future(flights.read("a", read))
                await steps()
                task.cancel()
                await asyncio.wait([task])

        async def writer() -> None:
            nonlocal done
            for _ in range(200):
                store.value += 1
                await steps()
            done = True

        await asyncio.gather(
            writer(), *(reader() for _ in range(5)), cancelling_reader(), cancelling_reader()
        )
        assert len(flights) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_only_cancelling_the_last_caller_cancels_the_read() -> None:
    async def main() -> None:
        store, flights = _Store(), SingleFlight[str, int]()
        first, second = (
            asyncio.ensure_future(flights.read("a", store.read)) for _ in range(2)
        )  # fmt: skip
        await _until_reads(store, 1)
        first.cancel()
        await asyncio.wait([first])
        assert (store.running, second.done()) == (1, False)
        waiting = asyncio.ensure_future(flights.read("a", store.read))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        again = asyncio.ensure_future(flights.read("a", store.read))
        for _ in range(5):
            await asyncio.sleep(0)
        assert (store.reads, store.most) == (1, 1)
        second.cancel()
        await asyncio.wait([second])
        await _until_reads(store, 2)
        assert store.most == 1, "a waiting read does not start while another runs"
        again.cancel()
        await asyncio.wait([again])
        assert (store.running, len(flights)) == (0, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_an_error_is_raised_by_all_callers_and_is_not_cached() -> None:
    async def main() -> None:
        flights, store = SingleFlight[str, int](), _Store()
        store.gate.set()
        error = ConnectionError("gone")

        async def fail() -> int:
            raise error

        found = await asyncio.gather(
            flights.read("a", fail), flights.read("a", fail), return_exceptions=True
        )
        assert list(found) == [error, error]
        assert await flights.read("a", store.read) == 0

    asyncio.run(main())


def test_reads_of_different_keys_run_concurrently() -> None:
    async def main() -> None:
        store, flights = _Store(), SingleFlight[str, int]()
        reads = [asyncio.ensure_future(flights.read(key, store.read)) for key in "ab"]
        await _until_reads(store, 2)
        store.gate.set()
        assert await asyncio.gather(*reads) == [0, 0]

    asyncio.run(main())
