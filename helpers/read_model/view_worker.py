"""The keeper of the read model, as a part of a service: it catches up, again and again.

Each pass asks PostgreSQL something, too. What changes there is announced in Redis: a keeper to whom
nothing is announced would not notice that PostgreSQL is away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from helpers.errors import ReadModelError
from helpers.read_model.views import ReadModel
from helpers.stores import Stores
from helpers.stores.background_worker import BackgroundWorker, Pass


class ViewWorker(BackgroundWorker):
    """Brings the views up to date every ``pause_seconds``, from ``start()`` to ``stop()``.

    ``connect`` makes the connections, which it closes. Where there are no views it makes all of
    them, else it goes on where the last keeper stopped; another one's work it leaves alone.
    """

    def __init__(self, connect: Callable[[], Stores], *, pause_seconds: float = 1.0) -> None:
        super().__init__("view-keeper", connect, pause_seconds=pause_seconds)

    @contextlib.contextmanager
    def _working(self, stores: Stores) -> Iterator[Pass]:
        with ReadModel(stores) as model:

            def catch_up() -> bool:
                stores.postgres.execute("SELECT 1")
                try:
                    model.catch_up()
                except ReadModelError:
                    return False
                return True

            yield catch_up
