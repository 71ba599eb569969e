"""``python -m helpers relay``: the keeper of the orders as a program of its own."""

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
_LOOK_SECONDS = 0.05
_STOP_SECONDS = 15.0


def run_relay(addresses: Addresses, *, every: float = 1.0) -> None:
    """Keep the orders every ``every`` seconds, until SIGINT or SIGTERM.

    Makes the shop's tables where there are none. Says on standard output when it is at work, and at
    the end how many rows it has carried. A store that stops answering is named on standard error,
    and tried again. To be called in the main thread.

    Raises ``StoreError`` where a store does not answer at first, and ``CourseError`` where the
    keeper ends by itself.
    """
    with _connect(addresses) as stores, stores.explaining():
        create_shop(stores)
    keeper = OrderWorker(lambda: _connect(addresses), pause_seconds=every)
    with _told_to_stop() as stop:
        keeper.start()
        _look_after(keeper, stop)
        keeper.stop(wait_seconds=_STOP_SECONDS)
    _say_carried(keeper.relayed)


def relay_once(addresses: Addresses) -> None:
    """Carry what is in the outbox and reconcile the stock, once; say what was done.

    Raises ``StoreError`` where a store does not answer.
    """
    carried = 0
    with _connect(addresses) as stores, stores.explaining():
        create_shop(stores)
        while rows := relay(stores):
            carried += rows
        print(reconcile(Stock.of(stores)))
    _say_carried(carried)


def _look_after(keeper: OrderWorker, stop: threading.Event) -> None:
    """Say how the keeper does, until it is to stop."""
    at_work, said = False, None
    while not stop.wait(_LOOK_SECONDS):
        if keeper.state == "ended":
            raise CourseError(keeper.error or "The keeper has ended.")
        if keeper.passes and not at_work:
            print(RELAY_READY, flush=True)
            at_work = True
        error = keeper.error
        if error is not None and error != said:
            print(error, file=sys.stderr, flush=True)
        said = error


def _say_carried(rows: int) -> None:
    plural = "" if rows == 1 else "s"
    print(f"{rows} row{plural} of the outbox carried.", flush=True)


def _connect(addresses: Addresses) -> Stores:
    return connect_all(addresses, limits=Limits())


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Yield what is set by the first SIGINT or SIGTERM; the second does what it always does."""
    stop = threading.Event()
    before = {one: signal.getsignal(one) for one in _SIGNALS}

    def told(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for one in _SIGNALS:
        signal.signal(one, told)
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
