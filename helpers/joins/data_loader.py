"""A DataLoader: collect the keys requested in one turn of the event loop, fetch them in one batch.

Many parts of a request each need one product, and none knows of the others. They call a loader,
which waits until the event loop has nothing else to run in this turn, and then fetches all keys in
one batch. The contract is that of graphql/dataloader: https://github.com/graphql/dataloader
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Generic, Self, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Fetches the values of unique keys: one per key, in order, ``None`` for a missing one.
Fetch = Callable[[Sequence[K]], Awaitable[Sequence[V | None]]]


class DataLoader(Generic[K, V]):
    """Batches the keys of one request and caches their values: create one per request.

    Use it in an ``async with`` statement or call ``aclose()``, so that no fetch outlives the
    request. ``most`` is the maximum batch size; more keys are fetched in concurrent batches.
    """

    def __init__(self, fetch: Fetch[K, V], *, most: int = 1000) -> None:
        if most < 1:
            raise ValueError(f"A batch cannot have {most} keys at most: give 1 or more.")
        self._fetch = fetch
        self._most = most
        self._values: dict[K, asyncio.Future[V | None]] = {}
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._batches: set[asyncio.Task[None]] = set()

    async def load(self, key: K) -> V | None:
        """Return the value of ``key``, or ``None`` if there is none.

        Raises the error of its batch; the next call fetches the key again. Cancelling one caller
        does not cancel the others.
        """
        return await asyncio.shield(self._future(key))

    async def load_many(self, keys: Iterable[K]) -> list[V | None]:
        """Return the values of ``keys``: one per key, in order."""
        futures = [self._future(key) for key in keys]
        return list(await asyncio.gather(*map(asyncio.shield, futures)))

    async def aclose(self) -> None:
        """Cancel all fetches, and return when they have ended."""
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        batches = list(self._batches)
        for batch in batches:
            batch.cancel()
        await asyncio.gather(*batches, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _future(self, key: K) -> asyncio.Future[V | None]:
        future = self._values.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._values[key] = loop.create_future()
            if not self._waiting:
                # Only after all tasks that are ready have run: they may need keys too.
                loop.call_soon(self._dispatch)
            self._waiting[key] = future
        return future

    def _dispatch(self) -> None:
        waiting, self._waiting = list(self._waiting.items()), {}
        for start in range(0, len(waiting), self._most):
            self._start(dict(waiting[start : start + self._most]))

    def _start(self, futures: dict[K, asyncio.Future[V | None]]) -> None:
        def end(batch: asyncio.Task[None]) -> None:
            self._batches.discard(batch)
            for future in futures.values():
                future.cancel()  # those without a value: the batch was cancelled

        batch = asyncio.get_running_loop().create_task(self._run(futures))
        self._batches.add(batch)
        batch.add_done_callback(end)

    async def _run(self, futures: dict[K, asyncio.Future[V | None]]) -> None:
        try:
            values = await self._fetch(list(futures))
            if len(values) != len(futures):
                raise ValueError(
                    f"{len(futures)} keys were fetched and {len(values)} values came: fetching "
                    "must return one for each key, None for what is missing."
                )
        except Exception as error:  # noqa: BLE001  # any error is raised by the callers of load
            for key, future in futures.items():
                if self._values.get(key) is future:
                    del self._values[key]
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # mark as retrieved: all callers may have been cancelled
            return
        for future, value in zip(futures.values(), values, strict=True):
            if not future.done():
                future.set_result(value)
