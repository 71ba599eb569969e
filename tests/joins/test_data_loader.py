"""The DataLoader's contract: order, None for missing, one batch per turn, caching, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from helpers.joins import DataLoader
from tests.waiting import come


class _Source:
    """Fetches squares, except those of multiples of 5, and records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0

    async def fetch(self, keys: Sequence[int]) -> list[int | None]:
        self.batches.append(list(keys))
        self.running += 1
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        return [key * key if key % 5 else None for key in keys]


def test_keys_requested_in_one_turn_are_fetched_in_one_batch_in_order() -> None:
    async def main() -> None:
        source = _Source()
        loader = DataLoader(source.fetch)

        async def part(key: int) -> int | None:
            await asyncio.sleep(0) if key > 2 else None
            return await loader.load(key)

        values = await asyncio.gather(loader.load_many([3, 5, 3]), loader.load(1), loader.load(2))
        assert list(values) == [[9, None, 9], 1, 4]
        assert source.batches == [[3, 5, 1, 2]]
        assert await loader.load_many([2, 7, 5]) == [4, 49, None]
        assert source.batches[1:] == [[7]], "results are cached, also missing ones"
        assert await asyncio.gather(*map(part, (11, 1, 12))) == [121, 1, 144]
        assert source.batches[2:] == [[11, 12]]

    asyncio.run(main())


def test_batches_are_limited_in_size() -> None:
    async def main() -> None:
        source = _Source()
        await DataLoader(source.fetch, most=2).load_many([1, 2, 3, 4, 6])
        assert source.batches == [[1, 2], [3, 4], [6]]
        with pytest.raises(ValueError, match="give 1 or more"):
            DataLoader(source.fetch, most=0)

    asyncio.run(main())


def test_an_error_is_raised_by_all_callers_and_is_not_cached() -> None:
    async def main() -> None:
        source = _Source()
        source.error = ConnectionError("gone")
        loader = DataLoader(source.fetch)
        errors = await asyncio.gather(loader.load(1), loader.load(2), return_exceptions=True)
        assert list(errors) == [source.error, source.error]
        source.error = None
        assert await loader.load(1) == 1

    asyncio.run(main())


def test_a_batch_with_the_wrong_number_of_values_raises_an_error() -> None:
    async def fetch(keys: Sequence[int]) -> list[int | None]:
        return [1]

    async def main() -> None:
        with pytest.raises(ValueError, match="2 keys were fetched and 1 values came"):
            await DataLoader(fetch).load_many([1, 2])

    asyncio.run(main())


def test_cancelling_one_caller_does_not_affect_the_others_and_closing_leaves_no_task() -> None:
    async def main() -> None:
        source = _Source()
        source.gate.clear()
        async with DataLoader(source.fetch) as loader:
            first, second = (asyncio.ensure_future(loader.load(1)) for _ in range(2))
            await come(lambda: source.running > 0)
            first.cancel()
            source.gate.set()
            assert await second == 1
            assert first.cancelled()
            source.gate.clear()
            third, fourth = (asyncio.ensure_future(loader.load(key)) for key in (2, 3))
            await come(lambda: source.running > 0)
        await asyncio.wait([third, fourth])
        assert third.cancelled()
        assert fourth.cancelled()
        assert source.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
