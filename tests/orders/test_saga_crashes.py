"""A crash at any step, from reserve to acknowledge: after recovery, all stores agree.

A crash is simulated by an error that the shop does not handle; it does not even release units. Two
tests kill the process of a relay.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo.collection import Collection

from helpers.catalog.model import Order
from helpers.orders import orders as module
from helpers.orders import outbox
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.stock import reconcile
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from tests.orders.agreement import assert_consistent, assert_relayed, ordered, outbox_rows
from tests.orders.test_orders_failures import CrashError, in_an_hour

#: The functions that place an order: the owner and the attribute of each.
PLACING: dict[str, tuple[Callable[[Orders], object], str]] = {
    "agree": (lambda _: module, "agree_on_number"),
    "reserve": (lambda orders: orders.stock.reservations, "reserve"),
    "confirm": (lambda orders: orders.stock.reservations, "start_confirmation"),
    "key": (lambda _: module, "write_key"),
    "outbox": (lambda _: module, "write_outbox"),
    "record": (lambda _: module, "_record"),
    "commit": (lambda orders: orders.stock.ledger, "record_sale"),
    "finish": (lambda orders: orders.stock.reservations, "finish_confirmation"),
}

#: The functions of the relay, in ``outbox``.
RELAYING = ("_read", "_write", "_delete")

#: A crash before a step leaves the stores as a crash after the previous step does. `make test` has
#: one crash before the transaction, one within it and one after it.
_IN_TEST = ("reserve", "key", "commit")
POINTS = [
    pytest.param("before", "agree", marks=pytest.mark.verify),
    *(
        pytest.param("after", step, marks=() if step in _IN_TEST else pytest.mark.verify)
        for step in PLACING
    ),
]


@contextlib.contextmanager
def crash(where: object, name: str, when: str, *, turn: int = 1) -> Iterator[None]:
    """Simulate a crash before or after the ``turn``-th call of a function."""
    step = getattr(where, name)
    turns = itertools.count(1)

    def crashing(*arguments: Any, **options: Any) -> Any:
        now = next(turns) == turn
        if now and when == "before":
            raise CrashError
        result = step(*arguments, **options)
        if now:
            raise CrashError
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, crashing)
        with pytest.raises(CrashError):
            yield


def crash_placing(orders: Orders, when: str, step: str, key: str) -> None:
    """Order 3 units of product 1 for customer 7, and crash at this step."""
    find, name = PLACING[step]
    with pytest.MonkeyPatch.context() as patch:
        # A crashed process does not release its units.
        patch.setattr(orders, "_release", lambda _: None)
        with crash(find(orders), name, when):
            orders.place(1, 3, 7, key=key)


def recover(orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the clock by an hour, reconcile, and relay everything."""
    monkeypatch.setattr(orders.stock.reservations, "_clock", in_an_hour(shop))
    orders.stock.read(range(1, 6))
    reconcile(orders.stock, in_doubt_seconds=0)
    while relay(shop):
        pass


def assert_survived(orders: Orders, shop: Stores, acknowledged: list[Order]) -> None:
    assert_relayed(shop)
    assert_consistent(orders, shop, acknowledged)


@pytest.mark.parametrize(("when", "step"), POINTS)
def test_after_a_crash_the_order_exists_completely_or_not_at_all(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, when: str, step: str
) -> None:
    acknowledged = [orders.place(1, 2, 8)]
    crash_placing(orders, when, step, "k")
    recover(orders, shop, monkeypatch)
    recorded = step == "finish" or (when, step) == ("after", "commit")
    assert ordered(shop) == {1: 5 if recorded else 2}
    assert_survived(orders, shop, acknowledged)


@pytest.mark.parametrize("then", ["at once", "after reconcile", "after Redis lost everything"])
@pytest.mark.parametrize(("when", "step"), POINTS)
def test_a_client_that_retries_under_its_key_after_a_crash_gets_one_order(
    orders: Orders,
    shop: Stores,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    step: str,
    then: str,
) -> None:
    acknowledged = [orders.place(1, 2, 8)]
    crash_placing(orders, when, step, "k")
    if then == "after reconcile":
        with monkeypatch.context() as patch:
            recover(orders, shop, patch)
    elif then == "after Redis lost everything":
        shop.redis.flushdb()
    acknowledged += [orders.place(1, 3, 7, key="k") for _ in range(2)]
    assert acknowledged[1] == acknowledged[2]
    recover(orders, shop, monkeypatch)
    assert ordered(shop) == {1: 5}
    assert_survived(orders, shop, acknowledged)


def place_some(orders: Orders) -> list[Order]:
    return [orders.place(product, 1, customer) for product in (1, 2, 1) for customer in (7, 8)]


@pytest.mark.parametrize(
    ("when", "step", "again"),
    [
        pytest.param(*way, marks=() if way[1:] == ("_delete", 1) else pytest.mark.verify)
        for way in itertools.product(("before", "after"), RELAYING, (1, 3))
    ],
)
def test_a_relay_that_crashes_loses_no_row_and_counts_none_twice(
    orders: Orders,
    shop: Stores,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    step: str,
    again: int,
) -> None:
    placed = place_some(orders)
    for _ in range(again):
        with crash(outbox, step, when):
            relay(shop, most=2)
        left = 4 if (when, step) == ("after", "_delete") else 6
        if again == 1:
            assert len(outbox_rows(shop)) == left
    placed += place_some(orders)
    recover(orders, shop, monkeypatch)
    assert_survived(orders, shop, placed)


@pytest.mark.parametrize(
    ("when", "turn"),
    [
        ("after", 1),
        *(
            pytest.param(*way, marks=pytest.mark.verify)
            for way in (("before", 1), ("before", 2), ("after", 2))
        ),
    ],
)
def test_a_relay_that_crashes_between_two_collections_is_completed_by_the_next(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, when: str, turn: int
) -> None:
    placed = place_some(orders)
    with crash(Collection, "bulk_write", when, turn=turn):
        relay(shop)
    assert len(outbox_rows(shop)) == 6
    placed += place_some(orders)
    recover(orders, shop, monkeypatch)
    assert_survived(orders, shop, placed)


KILLED = """
import os, signal, sys
from helpers.orders import outbox
from helpers.shop import open_shop

step = getattr(outbox, sys.argv[1])

def last(*arguments):
    if sys.argv[2] == "after":
        step(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(outbox, sys.argv[1], last)
with open_shop() as stores:
    outbox.relay(stores)
"""


@pytest.mark.parametrize(
    ("when", "step"),
    [("after", "_write"), pytest.param("after", "_delete", marks=pytest.mark.verify)],
)
def test_a_relay_that_is_killed_loses_no_row_and_counts_none_twice(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, when: str, step: str
) -> None:
    placed = place_some(orders)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, step, when],
        env={**os.environ, **environment_of(shop)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(outbox_rows(shop)) == (6 if step == "_write" else 0)
    assert shop.mongo.sales.count_documents({}) == 2
    placed += place_some(orders)
    recover(orders, shop, monkeypatch)
    assert_survived(orders, shop, placed)
