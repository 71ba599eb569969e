"""The background worker of the read model: it brings the views up to date while a service runs."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator

from helpers.errors import ReadModelError
from helpers.read_model.views import ReadModel
from helpers.stores import Stores
from helpers.stores.background_worker import BackgroundWorker, Pass


class ViewWorker(BackgroundWorker):
    """Brings the views up to date every ``pause_seconds``, from ``start()`` to ``stop()``.

    ``connect`` opens the connections, which the worker closes. If there are no views the worker
    builds all of them, else it continues from the last worker's positions. While another worker
    holds the lock, it does nothing.
    """

    def __init__(self, connect: Callable[[], Stores], *, pause_seconds: float = 1.0) -> None:
        super().__init__("view-worker", connect, pause_seconds=pause_seconds)
        self._token = secrets.token_hex(16)

    @contextlib.contextmanager
    def _prepare(self, stores: Stores) -> Iterator[Pass]:
        with ReadModel(stores, token=self._token) as model:

            def catch_up() -> float:
                # Changes in PostgreSQL arrive through Redis: without a query, a worker would not
                # notice that PostgreSQL is unavailable.
                stores.postgres.execute("SELECT 1")
                try:
                    model.catch_up()
                except ReadModelError:
                    return model.age_seconds()
                return 0.0

            yield catch_up
