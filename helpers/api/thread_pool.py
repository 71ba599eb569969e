"""Run blocking work in threads without waiting longer than the request's deadline.

A thread that waits for an unresponsive store cannot be stopped. FastAPI's own thread pool would
run out of threads after 40 of these, and every later request would wait; anyio's limiter does not
count them once their callers are cancelled. This pool counts the abandoned threads, and refuses new
work at once if no thread can become free.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from helpers.errors import BusyError

T = TypeVar("T")


class BoundedThreadPool:
    """Run up to ``threads`` jobs at a time, with up to ``waiting`` more in the queue.

    When the process ends it waits for the running jobs, so each must have a time limit.
    """

    def __init__(self, name: str, *, threads: int = 40, waiting: int = 1000) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._max_threads = threads
        self._max_jobs = threads + waiting
        self._lock = threading.Lock()
        self._jobs = 0  # in the queue and running
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """The number of running jobs whose callers were cancelled."""
        return self._abandoned

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread, and return what it returns or raise what it raises.

        If the caller is cancelled, work that has started continues, and work in the queue is
        dropped.

        Raises ``BusyError`` if no thread can become free, before anything is started.
        """
        future = self._submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancel():
                self._count(abandoned=1)
                future.add_done_callback(lambda _: self._count(abandoned=-1))
            raise

    def close(self) -> None:
        """Drop the queue, and let each thread end after its job."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            is_busy = self._abandoned >= self._max_threads or self._jobs >= self._max_jobs
            self._jobs += not is_busy
        if not is_busy:
            try:
                future = self._executor.submit(work)
            except RuntimeError:  # it is closed
                self._count(jobs=-1)
            else:
                future.add_done_callback(lambda _: self._count(jobs=-1))
                return future
        raise BusyError(
            "All threads are waiting for a store, so nothing was started: try again in a moment."
        )

    def _count(self, *, jobs: int = 0, abandoned: int = 0) -> None:
        with self._lock:
            self._jobs += jobs
            self._abandoned += abandoned
