"""``python -m helpers relay``: the orders' background worker as a separate program."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from helpers.errors import CourseError
from helpers.orders.order_worker import RELAY_READY, OrderWorker
from helpers.orders.outbox import relay
from helpers.settings import Addresses
from helpers.shop.schema import create_shop
from helpers.stock import Stock, reconcile
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from helpers.stores.stores import connect_all

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 0.05
_STOP_SECONDS = 15.0


def run_relay(addresses: Addresses, *, every: float = 1.0) -> None:
    """Run the orders' background worker every ``every`` seconds, until SIGINT or SIGTERM.

    Creates the shop's tables if there are none. Prints a line when the first pass is done, and at
    the end the number of rows carried. A store that becomes unavailable is named on standard error,
    and tried again. Call this in the main thread, since it handles signals.

    Raises ``StoreError`` if a store is unavailable at the start, and ``CourseError`` if the worker
    fails.
    """
    with _connect(addresses) as stores, stores.explaining():
        create_shop(stores)
    worker = OrderWorker(lambda: _connect(addresses), pause_seconds=every)
    with _stop_signal() as stop:
        worker.start()
        _report(worker, stop)
        worker.stop(wait_seconds=_STOP_SECONDS)
    _print_carried(worker.relayed)


def relay_once(addresses: Addresses) -> None:
    """Carry all rows of the outbox, reconcile the stock, and print what was done.

    Raises ``StoreError`` if a store is unavailable.
    """
    carried = 0
    with _connect(addresses) as stores, stores.explaining():
        create_shop(stores)
        while rows := relay(stores):
            carried += rows
        print(reconcile(Stock.of(stores)))
    _print_carried(carried)


def _report(worker: OrderWorker, stop: threading.Event) -> None:
    """Print when the worker is ready, and its errors, until ``stop`` is set."""
    is_ready, printed = False, None
    while not stop.wait(_POLL_SECONDS):
        if worker.state == "ended":
            raise CourseError(worker.error or "The background worker has ended.")
        if worker.passes and not is_ready:
            print(RELAY_READY, flush=True)
            is_ready = True
        error = worker.error
        if error is not None and error != printed:
            print(error, file=sys.stderr, flush=True)
        printed = error


def _print_carried(rows: int) -> None:
    plural = "" if rows == 1 else "s"
    print(f"{rows} row{plural} of the outbox carried.", flush=True)


def _connect(addresses: Addresses) -> Stores:
    return connect_all(addresses, limits=Limits())


@contextlib.contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets. A second one ends the process."""
    stop = threading.Event()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, handlers[signal.Signals(number)])

    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
