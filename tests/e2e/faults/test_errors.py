"""Operations during an outage succeed, or raise an error that names the unavailable store."""

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
from helpers.shop.seeding import seed
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

#: Operations, and the stores that each needs.
OPERATIONS: dict[str, tuple[Callable[[Stores], object], set[StoreName]]] = {
    "the join": (batched, {"PostgreSQL", "MongoDB", "Redis"}),
    "an order": (
        lambda stores: [Orders.of(stores).place(product, 1, 7) for product in range(1, 9)],
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
def test_the_error_names_the_unavailable_store(faults: FaultInjection, name: str, how: str) -> None:
    expected = STORE_OF[name]
    with ExitStack() as opened:
        connected = {
            operation: opened.enter_context(connect_all(faults.stores.addresses, limits=LIMITS))
            for operation in OPERATIONS
        }
        Orders.of(connected["the relay"]).place(1, 1, 7)  # an order for the relay to carry
        with getattr(faults, how)(name):
            # They run concurrently, since each waits for a frozen server. The last one does not,
            # since it would wait for a lock of the relay.
            fail = [operation for operation, (_, needs) in OPERATIONS.items() if expected in needs][
                :-1
            ]
            with ThreadPoolExecutor(len(fail)) as pool:
                calls = {
                    operation: pool.submit(
                        _error_of, OPERATIONS[operation][0], connected[operation]
                    )
                    for operation in fail
                }
            errors = {operation: call.result() for operation, call in calls.items()}
            for operation in OPERATIONS.keys() - errors.keys():
                errors[operation] = _error_of(OPERATIONS[operation][0], connected[operation])
    for operation, error in errors.items():
        if expected not in OPERATIONS[operation][1]:
            assert error is None, f"{operation}: {error}"
            continue
        assert error is not None, f"{operation} did not notice"
        assert error.store == expected, f"{operation}: {error}"
        assert str(error).startswith(f"{expected} at "), f"{operation}: {error}"
        assert "://" in error.address
        assert error.address == redact(error.address)


def _error_of(call: Callable[[Stores], object], stores: Stores) -> StoreError | None:
    """Return the ``StoreError`` of an operation, or ``None``; raise any other error."""
    try:
        with stores.explaining():
            call(stores)
    except StoreError as error:
        return error
    return None
