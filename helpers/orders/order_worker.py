"""The keeper of the orders: it carries the outbox, and finishes or undoes what a crash left.

Any number may be at work at once, beside any number of clients: whatever it does, done again,
changes nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from helpers.orders.outbox import relay
from helpers.stock import Stock, reconcile, recover
from helpers.stock.step_hooks import StepHook
from helpers.stores import Stores
from helpers.stores.background_worker import BackgroundWorker, Pass

#: What ``python -m helpers relay`` prints when it is ready.
AT_WORK = "The relay is at work."

_MOST = 500


class OrderWorker(BackgroundWorker):
    """Keeps the orders every ``pause_seconds``, from ``start()`` to ``stop()``.

    Each pass gives back the units of reservations past their deadline, lets the ledger decide
    confirmations that began ``in_doubt_seconds`` ago and have not ended, and carries all rows of
    the outbox. The first, and one every ``reconcile_seconds``, also compares all of the stock with
    the ledger; with ``None`` that is left to others.

    ``connect`` makes the connections, which it closes; ``hook`` is told of each step of the relay.
    """

    def __init__(
        self,
        connect: Callable[[], Stores],
        *,
        pause_seconds: float = 1.0,
        reconcile_seconds: float | None = 60.0,
        in_doubt_seconds: float = 30.0,
        hook: StepHook | None = None,
    ) -> None:
        super().__init__("order-worker", connect, pause_seconds=pause_seconds)
        self._reconcile_seconds = reconcile_seconds
        self._in_doubt_seconds = in_doubt_seconds
        self._hook = hook
        self._carried = 0
        self._next = 0.0

    @property
    def carried(self) -> int:
        """How many rows of the outbox it has carried; one that was carried twice counts twice."""
        return self._carried

    @contextlib.contextmanager
    def _prepare(self, stores: Stores) -> Iterator[Pass]:
        stock = Stock.of(stores)

        def keep() -> bool:
            recover(stock, in_doubt_seconds=self._in_doubt_seconds)
            while rows := relay(stores, most=_MOST, hook=self._hook):
                self._carried += rows
                if self._stopping.is_set():
                    break
            if self._reconcile_seconds is not None and time.monotonic() >= self._next:
                reconcile(stock, in_doubt_seconds=self._in_doubt_seconds)
                self._next = time.monotonic() + self._reconcile_seconds
            return True

        yield keep
