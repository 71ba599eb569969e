"""The keeper of the read model as a part of a service: a thread that catches up, again and again.

It works with connections of its own, since the drivers that wait would make others wait. When a
store fails, it gives all of them up and begins anew after a pause: that also replaces a connection
which the server has closed.

Each pass asks PostgreSQL something, too. What changes there is announced in Redis: a keeper to whom
nothing is announced would not notice that PostgreSQL is away.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Literal

from helpers.errors import CourseError, ReadModelError
from helpers.shop.read_model import ReadModel
from helpers.stores import Stores

#: ``keeping``: the last pass went to its end; ``yielding``: another keeper is at work; ``failing``:
#: a store does not answer; ``ended``: stopped, or ended by an error that is none of a store.
KeeperState = Literal["starting", "keeping", "yielding", "failing", "ended"]


class ViewKeeper:
    """Brings the views up to date every ``pause_seconds``, from ``start()`` to ``stop()``.

    ``connect`` makes the connections, which it closes. Where there are no views it makes all of
    them, else it goes on where the last keeper stopped; another one's work it leaves alone.
    """

    def __init__(self, connect: Callable[[], Stores], *, pause_seconds: float = 1.0) -> None:
        self._connect = connect
        self._pause = pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="view-keeper", daemon=True)
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
        """How often it has caught up."""
        return self._passes

    @property
    def silent_seconds(self) -> float:
        """How long ago all stores were known to answer; never: infinity."""
        return time.monotonic() - self._heard

    @property
    def age_seconds(self) -> float:
        """How long ago the views were known to be as the stores are; never: infinity."""
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
        return f"<ViewKeeper, {self._state}>"

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
        """Catch up until it is to stop. Raises ``CourseError`` when a store fails."""
        with self._connect() as stores, stores.explaining(), ReadModel(stores) as model:
            while not self._stopping.is_set():
                began = time.monotonic()
                stores.postgres.execute("SELECT 1")
                try:
                    model.catch_up()
                except ReadModelError:
                    self._error, self._state = None, "yielding"
                else:
                    self._error, self._state = None, "keeping"
                    self._passes += 1
                    self._current = began
                self._heard = began
                self._stopping.wait(self._pause)
