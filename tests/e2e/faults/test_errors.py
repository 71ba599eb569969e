"""Whoever uses the shop while a server is away gets an answer, or an error that names its store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from helpers.errors import StoreError, StoreName
from helpers.faults import FaultInjection, temporary_shop
from helpers.joins import batched
from helpers.orders.orders import Orders
from helpers.orders.outbox import bought_together, relay
from helpers.orders.sales import rebuild_sales
from helpers.settings import redact
from helpers.shop.seed import seed
from helpers.stock import Stock, reconcile
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from helpers.stores.stores import connect_all

pytestmark = [pytest.mark.servers, pytest.mark.verify]

LIMITS = Limits(answer_seconds=1.0)

STORE_OF: dict[str, StoreName] = {
    "coordinator": "PostgreSQL",
    "worker1": "PostgreSQL",
    "mongo": "MongoDB",
    "redis": "Redis",
}

#: What each caller does, and which stores it needs.
CALLERS: dict[str, tuple[Callable[[Stores], object], set[StoreName]]] = {
    "the join": (batched, {"PostgreSQL", "MongoDB", "Redis"}),
    "an order": (
        lambda stores: [Orders.of(stores).place(one, 1, 7) for one in range(1, 9)],
        {"PostgreSQL", "Redis"},
    ),
    "the relay": (relay, {"PostgreSQL", "MongoDB"}),
    "the stock": (lambda stores: Stock.of(stores).refresh(range(1, 9)), {"PostgreSQL", "Redis"}),
    "what goes with it": (lambda stores: bought_together(stores.mongo, 1), {"MongoDB"}),
    "reconcile": (
        lambda stores: reconcile(Stock.of(stores), in_doubt_seconds=0),
        {"PostgreSQL", "Redis"},
    ),
    "the sales": (rebuild_sales, {"PostgreSQL", "MongoDB"}),
}


@pytest.fixture(scope="module")
def faults() -> Iterator[FaultInjection]:
    with temporary_shop() as faults:
        seed(faults.stores, 20, orders=False)
        for product in range(1, 9):
            Stock.of(faults.stores).set_on_hand(product, 1000)
        yield faults


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("name", STORE_OF)
def test_an_error_is_ours_and_names_the_store(faults: FaultInjection, name: str, how: str) -> None:
    expected = STORE_OF[name]
    with ExitStack() as opened:
        connected = {
            caller: opened.enter_context(connect_all(faults.stores.addresses, limits=LIMITS))
            for caller in CALLERS
        }
        Orders.of(connected["the relay"]).place(1, 1, 7)  # there is something to carry
        with getattr(faults, how)(name):
            # Each of them waits for a frozen server: all at the same time, but for the last, which
            # waits for what the relay holds.
            fail = [caller for caller, (_, needs) in CALLERS.items() if expected in needs][:-1]
            with ThreadPoolExecutor(len(fail)) as pool:
                calls = {
                    caller: pool.submit(_error_of, CALLERS[caller][0], connected[caller])
                    for caller in fail
                }
            errors = {caller: call.result() for caller, call in calls.items()}
            for caller in CALLERS.keys() - errors.keys():
                errors[caller] = _error_of(CALLERS[caller][0], connected[caller])
    for caller, error in errors.items():
        if expected not in CALLERS[caller][1]:
            assert error is None, f"{caller}: {error}"
            continue
        assert error is not None, f"{caller} did not notice"
        assert error.store == expected, f"{caller}: {error}"
        assert str(error).startswith(f"{expected} at "), f"{caller}: {error}"
        assert "://" in error.address
        assert error.address == redact(error.address)


def _error_of(call: Callable[[Stores], object], stores: Stores) -> StoreError | None:
    """Return the error that the caller gets; any but ours would be raised."""
    try:
        with stores.explaining():
            call(stores)
    except StoreError as error:
        return error
    return None
