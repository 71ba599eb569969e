"""The background worker of the orders: relays the outbox, and recovers orders after a crash.

Any number of workers may run at once, next to any number of clients: all their work is idempotent.
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
RELAY_READY = "The relay is running."

_MOST_ROWS = 500


class OrderWorker(BackgroundWorker):
    """Makes a pass every ``pause_seconds``, from ``start()`` to ``stop()``.

    Each pass expires overdue reservations, lets the ledger decide confirmations that started
    ``in_doubt_seconds`` ago and are not finished, and relays all rows of the outbox. The first
    pass, and one every ``reconcile_seconds``, also reconciles the whole stock; ``None`` turns that
    off.

    ``connect`` opens the connections, which the worker closes. ``hook`` is called around each step
    of the relay.
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
        self._relayed = 0
        self._next_reconciliation = 0.0

    @property
    def relayed(self) -> int:
        """How many rows it has relayed; a row that was relayed twice counts twice."""
        return self._relayed

    @contextlib.contextmanager
    def _prepare(self, stores: Stores) -> Iterator[Pass]:
        stock = Stock.of(stores)

        def run_pass() -> float:
            recover(stock, in_doubt_seconds=self._in_doubt_seconds)
            while rows := relay(stores, most=_MOST_ROWS, hook=self._hook):
                self._relayed += rows
                if self._stopping.is_set():
                    break
            now = time.monotonic()
            if self._reconcile_seconds is not None and now >= self._next_reconciliation:
                reconcile(stock, in_doubt_seconds=self._in_doubt_seconds)
                self._next_reconciliation = time.monotonic() + self._reconcile_seconds
            return 0.0

        yield run_pass
