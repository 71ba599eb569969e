"""Work that blocks, in threads of its own: nobody waits for it longer than he wants to.

A thread that waits for a silent store cannot be stopped. In FastAPI's pool of threads it would be
missed by everybody else, as soon as there are forty of it. Here such threads are counted: when all
are taken by work that nobody waits for any more, whoever comes is refused at once, and not made to
wait for nothing.
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
    """Up to ``threads`` errands run at a time, up to ``waiting`` more wait for their turn.

    The threads are made when they are needed, and keep no process from ending.
    """

    def __init__(self, name: str, *, threads: int = 40, waiting: int = 1000) -> None:
        self._name = name
        self._most = threads
        self._most_waiting = waiting
        self._changed = threading.Condition()
        self._line: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._idle = 0
        self._left = 0  # running, and nobody waits for them
        self._is_closed = False

    @property
    def left(self) -> int:
        """How many run that nobody waits for any more."""
        return self._left

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread, and return what it returns or raise what it raises.

        Whoever is cancelled leaves at once. Work that has begun goes on to its end; work that has
        not is dropped, and never begins.

        Raises ``BusyError`` where no thread will be free in time, before anything is begun.
        """
        future = self._send(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._leave(future)
            raise

    def close(self) -> None:
        """Drop what waits for its turn, and let the threads end after what they do."""
        with self._changed:
            self._is_closed = True
            dropped = [future for future, _ in self._line]
            self._line.clear()
            self._changed.notify_all()
        for future in dropped:
            future.cancel()

    def __repr__(self) -> str:
        return f"<BoundedThreadPool {self._name}, {self._threads} threads, {self._left} left>"

    def _send(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            if self._is_closed or self._left >= self._most or self._waiting() >= self._most_waiting:
                raise BusyError(
                    "All threads for this are waiting for a store: nothing was begun. Try again in "
                    "a moment."
                )
            self._line.append((future, work))
            if self._idle >= len(self._line):
                self._changed.notify()
            elif self._threads < self._most:
                # Until it has taken what it was started for, it is one of the idle.
                self._threads += 1
                self._idle += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _waiting(self) -> int:
        """Return how many will not find a thread at once."""
        return len(self._line) - self._idle - (self._most - self._threads)

    def _leave(self, future: Future[Any]) -> None:
        with self._changed:
            if future.cancel():
                # It has not begun. It need not be there any more: nobody would find it in time.
                self._line = deque(one for one in self._line if one[0] is not future)
                return
            self._left += 1
        future.add_done_callback(self._come_back)

    def _come_back(self, _: Future[Any]) -> None:
        with self._changed:
            self._left -= 1

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._line and not self._is_closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._line:
                    self._threads -= 1
                    return
                future, work = self._line.popleft()
                is_wanted = future.set_running_or_notify_cancel()
            if is_wanted:
                _do(work, future)
            del future, work  # not kept until the next one comes
            with self._changed:
                self._idle += 1


def _do(work: Callable[[], T], future: Future[T]) -> None:
    try:
        answer = work()
    except BaseException as error:  # noqa: BLE001  # it is for whoever waits
        future.set_exception(error)
    else:
        future.set_result(answer)
