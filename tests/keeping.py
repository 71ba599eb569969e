"""Keepers of a test: what waits for them, and what ends them whatever becomes of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from helpers.stores.background_worker import BackgroundWorker, KeeperState

SOON = 0.01
NEVER = 3600.0

AnyKeeper = TypeVar("AnyKeeper", bound=BackgroundWorker)


class Keeping:
    """Starts keepers, and ends those that still run."""

    def __init__(self) -> None:
        self._begun: list[BackgroundWorker] = []

    def __call__(self, keeper: AnyKeeper) -> AnyKeeper:
        self._begun.append(keeper)
        keeper.start()
        return keeper

    def end(self) -> None:
        """End all, and raise ``AssertionError`` where one does not end."""
        ended = [keeper.stop(wait_seconds=60) for keeper in self._begun]
        assert all(ended)


@contextmanager
def keeping() -> Iterator[Keeping]:
    """Yield what starts keepers. One that outlived its test would disturb those that follow."""
    begun = Keeping()
    try:
        yield begun
    finally:
        begun.end()


def is_in(keeper: BackgroundWorker, state: KeeperState) -> Callable[[], bool]:
    """Return what tells whether the keeper is in this state."""
    return lambda: keeper.state == state
