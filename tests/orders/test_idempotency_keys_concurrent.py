"""Many who repeat their requests, and several relays at once: each order is there once.

Times decide nothing here: who comes first is left to chance, and all stores agree in the end.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.catalog.model import Order
from helpers.errors import ReservationError, SoldOutError
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.stock import reconcile
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from tests.connections import connect_pooled_again
from tests.orders.agreement import assert_carried, assert_whole, ordered

THREADS, RELAYS = 16, 3
FEW = Limits(connections=6, wait_seconds=60, answer_seconds=60)

Request = tuple[int, int, int, str]


@pytest.fixture
def pooled(shop: Stores) -> Iterator[Orders]:
    with connect_pooled_again(shop, limits=FEW) as stores:
        yield Orders.of(stores)


def send_all(orders: Orders, requests: list[Request]) -> dict[Request, set[Order | str]]:
    """Send every request from one of the threads, and return its different answers."""
    answers: dict[Request, set[Order | str]] = defaultdict(set)

    def send(request: Request) -> tuple[Request, Order | str]:
        product, units, customer, key = request
        try:
            return request, orders.place(product, units, customer, key=key)
        except SoldOutError:
            return request, "sold out"
        except ReservationError as error:
            return request, error.state

    with ThreadPoolExecutor(THREADS) as pool:
        for request, answer in pool.map(send, requests):
            answers[request].add(answer)
    return answers


def shuffled(requests: list[Request], *, times: int) -> list[Request]:
    many = requests * times
    random.Random(1).shuffle(many)
    return many


@pytest.mark.verify
def test_all_who_repeat_a_request_get_the_same_order(pooled: Orders, shop: Stores) -> None:
    pooled.stock.read(range(1, 6))
    requests = [(one % 5 + 1, 1, 7, f"k{one}") for one in range(40)]
    answers = send_all(pooled, shuffled(requests, times=4))
    placed = [order for found in answers.values() for order in found]
    assert len(placed) == len(set(placed)) == 40
    assert all(isinstance(order, Order) for order in placed)
    assert ordered(shop) == dict.fromkeys(range(1, 6), 8)
    assert_whole(pooled, shop)


def test_of_the_last_units_each_key_gets_its_order_or_none(pooled: Orders, shop: Stores) -> None:
    pooled.stock.read(range(1, 6))
    requests = [(1, 1, 7, f"k{one}") for one in range(30)]
    answers = send_all(pooled, shuffled(requests, times=4))
    orders = [{one for one in found if isinstance(one, Order)} for found in answers.values()]
    assert sorted(map(len, orders)) == [0] * 20 + [1] * 10
    assert ordered(shop) == {1: 10}
    assert_whole(pooled, shop)


def test_of_different_orders_under_one_key_one_is_placed(pooled: Orders, shop: Stores) -> None:
    pooled.stock.read(range(1, 6))
    requests = [(1, units, 7, "k") for units in (1, 2, 3)]
    answers = send_all(pooled, shuffled(requests, times=10))
    orders = {one for found in answers.values() for one in found if isinstance(one, Order)}
    refused = {one for found in answers.values() for one in found if isinstance(one, str)}
    assert len(orders) == 1
    assert refused == {"for another order"}
    assert_whole(pooled, shop)


@pytest.mark.verify
def test_redis_may_lose_everything_in_the_midst(pooled: Orders, shop: Stores) -> None:
    requests = [(one % 5 + 1, 1, 7, f"k{one}") for one in range(40)]
    over = threading.Event()

    def lose() -> None:
        while not over.wait(0.02):
            shop.redis.flushdb()

    loser = threading.Thread(target=lose)
    loser.start()
    try:
        answers = send_all(pooled, shuffled(requests, times=4))
    finally:
        over.set()
        loser.join()
    for request, found in send_all(pooled, requests).items():
        answers[request] |= found
    for found in answers.values():
        assert len({one for one in found if isinstance(one, Order)}) == 1
    assert ordered(shop) == dict.fromkeys(range(1, 6), 8)
    pooled.stock.read(range(1, 6))
    reconcile(pooled.stock, in_doubt_seconds=0)
    assert_whole(pooled, shop)


@pytest.mark.verify
def test_several_relays_carry_while_orders_are_placed(
    pooled: Orders, shop: Stores, beside: Callable[[], Stores]
) -> None:
    for product in range(1, 6):
        pooled.stock.set_on_hand(product, 100)
    requests = [(one % 5 + 1, 1, one % 7 + 1, f"k{one}") for one in range(120)]
    over = threading.Event()

    def carry(stores: Stores) -> int:
        carried = 0
        while True:
            last = over.is_set()
            rows = relay(stores, most=7)
            carried += rows
            if last and not rows:
                return carried

    with ThreadPoolExecutor(RELAYS) as pool:
        relays = [pool.submit(carry, beside()) for _ in range(RELAYS)]
        try:
            answers = send_all(pooled, shuffled(requests, times=3))
        finally:
            over.set()
        carried = sum(one.result() for one in relays)
    assert carried >= len(answers) == 120
    assert ordered(shop) == dict.fromkeys(range(1, 6), 24)
    assert_carried(shop)
    assert_whole(pooled, shop)
