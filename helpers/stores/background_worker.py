"""A keeper: a thread beside a service that does the same work again and again.

It works with connections of its own, since the drivers that wait would make others wait. When a
store fails, it gives all of them up and begins anew after a pause: that also replaces a connection
which the server has closed.
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

#: ``keeping``: the last pass went to its end; ``yielding``: another keeper is at work; ``failing``:
#: a store does not answer; ``ended``: stopped, or ended by an error that is none of a store.
KeeperState = Literal["starting", "keeping", "yielding", "failing", "ended"]

#: Does the work once, and tells whether it was ours to do.
Pass = Callable[[], bool]


class BackgroundWorker(ABC):
    """Makes a pass every ``pause_seconds``, from ``start()`` to ``stop()``.

    ``connect`` makes the connections, which it closes. ``name`` is that of its thread.
    """

    def __init__(self, name: str, connect: Callable[[], Stores], *, pause_seconds: float) -> None:
        self._connect = connect
        self._pause = pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._state: KeeperState = "starting"
        self._error: str | None = None
        self._passes = 0
        self._heard = self._current = -math.inf

    @property
    def state(self) -> KeeperState:
        """What it does now."""
        return self._state

    @property
    def error(self) -> str | None:
        """What went wrong in the last pass, in a sentence or two; ``None``: nothing did."""
        return self._error

    @property
    def passes(self) -> int:
        """How often it has done its work to the end."""
        return self._passes

    @property
    def silent_seconds(self) -> float:
        """How long ago all stores were known to answer; never: infinity."""
        return time.monotonic() - self._heard

    @property
    def age_seconds(self) -> float:
        """How long ago its work was known to be done; never: infinity."""
        return time.monotonic() - self._current

    def start(self) -> None:
        """Begin, in a thread. Once only."""
        self._thread.start()

    def stop(self, *, wait_seconds: float = 10.0) -> bool:
        """End after the pass that runs, and tell whether it has ended within ``wait_seconds``.

        Else a store does not answer. The thread does not keep the process from ending.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._state}>"

    @abstractmethod
    def _working(self, stores: Stores) -> AbstractContextManager[Pass]:
        """Make ready to work with ``stores``, and yield what makes a pass.

        A driver's error ends it, and so does a ``CourseError``: the keeper begins anew.
        """

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._keep()
                except CourseError as error:
                    self._error, self._state = str(error), "failing"
                    self._stopping.wait(self._pause)
        except BaseException as error:
            # Its text may hold anything; what it is, suffices to look for it in the log.
            self._error = f"The keeper ended with {type(error).__name__}: see the log."
            raise
        finally:
            self._state = "ended"

    def _keep(self) -> None:
        """Make passes until it is to stop. Raises ``CourseError`` when a store fails."""
        with self._connect() as stores, stores.explaining(), self._working(stores) as make_pass:
            while not self._stopping.is_set():
                began = time.monotonic()
                was_ours = make_pass()
                self._heard = began
                if was_ours:
                    self._current = began
                self._error, self._state = None, "keeping" if was_ours else "yielding"
                self._passes += was_ours
                self._stopping.wait(self._pause)
