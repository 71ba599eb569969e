"""Start the background workers of a test, wait for them, and stop them when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from helpers.stores.background_worker import BackgroundWorker, WorkerState

SOON = 0.01
NEVER = 3600.0

Worker = TypeVar("Worker", bound=BackgroundWorker)


class StartWorker:
    """Starts workers, and stops those that still run."""

    def __init__(self) -> None:
        self._started: list[BackgroundWorker] = []

    def __call__(self, worker: Worker) -> Worker:
        self._started.append(worker)
        worker.start()
        return worker

    def stop_all(self) -> None:
        """Stop all workers; raise ``AssertionError`` if one does not stop."""
        stopped = [worker.stop(wait_seconds=60) for worker in self._started]
        assert all(stopped)


@contextmanager
def starting_workers() -> Iterator[StartWorker]:
    """Yield what starts workers. One that outlived its test would disturb the following tests."""
    start_worker = StartWorker()
    try:
        yield start_worker
    finally:
        start_worker.stop_all()


def is_in(worker: BackgroundWorker, state: WorkerState) -> Callable[[], bool]:
    """Return a function that tells whether the worker is in this state."""
    return lambda: worker.state == state
