"""Run blocking work in threads without waiting longer than the request's deadline.

A thread that waits for an unresponsive store cannot be stopped. FastAPI's own thread pool would
run out of threads after 40 of these, and every later request would wait. This pool counts the
abandoned threads, and refuses new work at once if no thread can become free.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from helpers.errors import BusyError

T = TypeVar("T")


class BoundedThreadPool:
    """Run up to ``threads`` jobs at a time, with up to ``waiting`` more in the queue.

    Threads start when they are needed. They are daemons, so they do not keep the process from
    ending.
    """

    def __init__(self, name: str, *, threads: int = 40, waiting: int = 1000) -> None:
        self._name = name
        self._max_threads = threads
        self._max_waiting = waiting
        self._changed = threading.Condition()
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._idle = 0
        self._abandoned = 0
        self._is_closed = False

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
            self._abandon(future)
            raise

    def close(self) -> None:
        """Drop the queue, and let each thread end after its job."""
        with self._changed:
            self._is_closed = True
            dropped = [future for future, _ in self._queue]
            self._queue.clear()
            self._changed.notify_all()
        for future in dropped:
            future.cancel()

    def __repr__(self) -> str:
        return (
            f"<BoundedThreadPool {self._name}, {self._threads} threads, "
            f"{self._abandoned} abandoned>"
        )

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            if (
                self._is_closed
                or self._abandoned >= self._max_threads
                or self._without_thread() >= self._max_waiting
            ):
                raise BusyError(
                    "All threads are waiting for a store, so nothing was started: try again in a "
                    "moment."
                )
            self._queue.append((future, work))
            if self._idle >= len(self._queue):
                self._changed.notify()
            elif self._threads < self._max_threads:
                # The new thread counts as idle until it has taken its job.
                self._threads += 1
                self._idle += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _without_thread(self) -> int:
        """Return how many jobs in the queue have to wait for a busy thread."""
        return len(self._queue) - self._idle - (self._max_threads - self._threads)

    def _abandon(self, future: Future[Any]) -> None:
        with self._changed:
            if future.cancel():
                # It has not started: free its place in the queue.
                self._queue = deque(job for job in self._queue if job[0] is not future)
                return
            self._abandoned += 1
        future.add_done_callback(self._recover)

    def _recover(self, _: Future[Any]) -> None:
        with self._changed:
            self._abandoned -= 1

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._queue:
                    self._threads -= 1
                    return
                future, work = self._queue.popleft()
                is_needed = future.set_running_or_notify_cancel()
            if is_needed:
                _complete(future, work)
            del future, work  # do not keep them alive until the next job
            with self._changed:
                self._idle += 1


def _complete(future: Future[T], work: Callable[[], T]) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  # raised again in the caller
        future.set_exception(error)
    else:
        future.set_result(result)
