"""A background worker: a thread of a service that repeats the same work.

It has its own connections, since blocking drivers serve one caller at a time. If a store fails, the
worker closes all connections and starts over after a pause, which also replaces a connection that
the server has closed.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

from helpers.errors import CourseError
from helpers.stores import Stores

#: ``running``: the last pass was complete; ``standby``: another worker does the work; ``failing``:
#: a store does not respond; ``ended``: stopped, or terminated by an error that no store caused.
WorkerState = Literal["starting", "running", "standby", "failing", "ended"]

#: Does the work once and returns 0; or leaves it to another worker, and returns how many seconds
#: ago that one did it (infinity if that is unknown).
Pass = Callable[[], float]


class BackgroundWorker(ABC):
    """Runs a pass every ``pause_seconds``, from ``start()`` to ``stop()``.

    ``connect`` opens the connections, which the worker closes. ``name`` is the thread's name.
    """

    def __init__(self, name: str, connect: Callable[[], Stores], *, pause_seconds: float) -> None:
        self._connect = connect
        self._pause = pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._state: WorkerState = "starting"
        self._error: str | None = None
        self._passes = 0
        # When the last pass started in which all stores responded, and the last that did the work,
        # here or in another worker.
        self._responded = self._done = -math.inf

    @property
    def state(self) -> WorkerState:
        """The current state."""
        return self._state

    @property
    def error(self) -> str | None:
        """The error of the last pass, in a sentence or two; ``None`` if there was none."""
        return self._error

    @property
    def passes(self) -> int:
        """The number of complete passes."""
        return self._passes

    @property
    def seconds_since_response(self) -> float:
        """The time since all stores were known to respond; infinite if they never did."""
        return time.monotonic() - self._responded

    @property
    def age_seconds(self) -> float:
        """The time since the work was known to be done, by this worker or another.

        Infinite if it never was.
        """
        return time.monotonic() - self._done

    def start(self) -> None:
        """Start the thread. May be called once."""
        self._thread.start()

    def stop(self, *, wait_seconds: float = 10.0) -> bool:
        """Stop after the current pass; return whether that took at most ``wait_seconds``.

        If not, the thread waits for a store that is unresponsive. It is a daemon thread, so it does
        not keep the process alive.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._state}>"

    @abstractmethod
    def _prepare(self, stores: Stores) -> AbstractContextManager[Pass]:
        """Set up the work with new connections, and yield the function that runs a pass.

        If that function raises a driver's error or a ``CourseError``, the worker starts over.
        """

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._run_passes()
                except CourseError as error:
                    self._error, self._state = str(error), "failing"
                    self._stopping.wait(self._pause)
        except BaseException as error:
            # The message may contain a password; the class name is enough to find it in the log.
            self._error = f"The background worker ended with {type(error).__name__}: see the log."
            raise
        finally:
            self._state = "ended"

    def _run_passes(self) -> None:
        """Run passes until the worker is stopped. Raises ``CourseError`` if a store fails."""
        with self._connect() as stores, stores.explaining(), self._prepare(stores) as run_pass:
            while not self._stopping.is_set():
                started = time.monotonic()
                age = run_pass()
                self._responded, self._done = started, max(self._done, started - age)
                self._error, self._state = None, "standby" if age else "running"
                self._passes += not age
                self._stopping.wait(self._pause)
