"""Many threads place orders over few connections: all stock is sold, each sale has an order."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.catalog.model import Order
from helpers.errors import ReservationError, SoldOutError
from helpers.lab.buyers import Act, PurchaseAttempt, plan_attempts, run_buyers
from helpers.orders.orders import Orders
from helpers.stock import reconcile
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from tests.connections import connect_pooled_again
from tests.orders.agreement import assert_all_agree, ordered
from tests.stock.agreement import on_hand

BUYERS = 32
FEW = Limits(connections=6, wait_seconds=60, answer_seconds=60)


@pytest.fixture
def pooled(shop: Stores) -> Iterator[Orders]:
    with connect_pooled_again(shop, limits=FEW) as stores:
        yield Orders.of(stores)


def place_all(orders: Orders, attempts: int, products: list[int]) -> list[Order | str]:
    def place(attempt: PurchaseAttempt) -> Order | str:
        try:
            return orders.place(attempt.product_id, attempt.quantity, 1 + attempt.product_id)
        except SoldOutError:
            return "sold out"
        except ReservationError as error:
            return error.state

    @contextlib.contextmanager
    def buyer(_: int) -> Iterator[Act[Order | str]]:
        yield place

    plans = plan_attempts(attempts, buyers=BUYERS, products=products, largest=2)
    return run_buyers(plans, buyer)


@pytest.mark.parametrize(
    ("attempts", "units"), [(90, 30), pytest.param(600, 200, marks=pytest.mark.verify)]
)
def test_concurrent_orders_of_one_product_sell_exactly_its_stock(
    pooled: Orders, shop: Stores, attempts: int, units: int
) -> None:
    pooled.stock.set_on_hand(1, units)
    pooled.stock.read(range(1, 6))
    found = place_all(pooled, attempts, [1])
    placed = [result for result in found if isinstance(result, Order)]
    assert set(found) - set(placed) == {"sold out"}
    assert len({order.id for order in placed}) == len(placed)
    assert sum(order.quantity for order in placed) == units
    assert ordered(shop) == {1: units}
    assert pooled.stock.read([1]) == {1: 0}
    assert reconcile(pooled.stock, in_doubt_seconds=0).findings == []
    assert_all_agree(shop)
    assert [pooled.find(order.id) for order in placed[:20]] == placed[:20]


@pytest.mark.verify
def test_concurrent_orders_of_many_products_lose_no_order(pooled: Orders, shop: Stores) -> None:
    found = place_all(pooled, 300, [1, 2, 3, 4, 5])
    placed = Counter[int]()
    for result in found:
        if isinstance(result, Order):
            placed[result.product_id] += result.quantity
    assert placed == ordered(shop)
    assert reconcile(pooled.stock, in_doubt_seconds=0).findings == []
    assert_all_agree(shop)


def test_concurrent_calls_with_one_token_place_one_order(pooled: Orders, shop: Stores) -> None:
    pooled.stock.read(range(1, 6))
    token = pooled.new_token()
    with ThreadPoolExecutor(BUYERS) as pool:
        calls = [pool.submit(pooled.place, 1, 2, 7, token=token) for _ in range(BUYERS)]
    (order,) = {call.result() for call in calls}
    assert ordered(shop) == {1: order.quantity}
    assert pooled.stock.read([1]) == {1: 8}
    assert_all_agree(shop)


@pytest.mark.verify
def test_concurrent_recounts_leave_one_of_the_values(pooled: Orders, shop: Stores) -> None:
    targets = [100 * number for number in range(1, BUYERS + 1)]
    with ThreadPoolExecutor(BUYERS) as pool:
        list(pool.map(lambda units: pooled.stock.set_on_hand(1, units), targets))
    assert on_hand(shop.postgres)[1] in targets
    pooled.stock.read(range(1, 6))
    assert_all_agree(shop)


@pytest.mark.verify
def test_recounts_during_orders_never_oversell(pooled: Orders, shop: Stores) -> None:
    """Each recount sets the units on hand; later sales reduce them."""
    pooled.stock.read(range(1, 6))
    over = threading.Event()

    def recount() -> None:
        while not over.is_set():
            pooled.stock.set_on_hand(1, 3)

    thread = threading.Thread(target=recount)
    thread.start()
    try:
        found = place_all(pooled, 200, [1])
    finally:
        over.set()
        thread.join()
    placed = [result for result in found if isinstance(result, Order)]
    refused = {"sold out", "released: the ledger has too few units for it"}
    assert {result for result in found if isinstance(result, str)} <= refused
    assert sum(order.quantity for order in placed) == ordered(shop)[1]
    assert pooled.stock.set_on_hand(1, 3) == 3
    reconcile(pooled.stock, in_doubt_seconds=0)
    assert_all_agree(shop)
