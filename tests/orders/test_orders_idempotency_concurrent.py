"""Concurrent retries of requests and concurrent relays: each order exists once.

The threads run in any order; afterwards all stores agree.
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
from tests.orders.agreement import assert_consistent, assert_relayed, ordered

THREADS, RELAYS = 16, 3
FEW = Limits(connections=6, wait_seconds=60, answer_seconds=60)

Request = tuple[int, int, int, str]


@pytest.fixture
def pooled(shop: Stores) -> Iterator[Orders]:
    with connect_pooled_again(shop, limits=FEW) as stores:
        yield Orders.of(stores)


def send_all(orders: Orders, requests: list[Request]) -> dict[Request, set[Order | str]]:
    """Send all requests from several threads, and return the distinct results of each."""
    results_of: dict[Request, set[Order | str]] = defaultdict(set)

    def send(request: Request) -> tuple[Request, Order | str]:
        product, units, customer, key = request
        try:
            return request, orders.place(product, units, customer, key=key)
        except SoldOutError:
            return request, "sold out"
        except ReservationError as error:
            return request, error.state

    with ThreadPoolExecutor(THREADS) as pool:
        for request, result in pool.map(send, requests):
            results_of[request].add(result)
    return results_of


def shuffled(requests: list[Request], *, times: int) -> list[Request]:
    many = requests * times
    random.Random(1).shuffle(many)
    return many


@pytest.mark.verify
def test_concurrent_retries_get_the_same_order(pooled: Orders, shop: Stores) -> None:
    pooled.stock.read(range(1, 6))
    requests = [(n % 5 + 1, 1, 7, f"k{n}") for n in range(40)]
    results_of = send_all(pooled, shuffled(requests, times=4))
    placed = [order for found in results_of.values() for order in found]
    assert len(placed) == len(set(placed)) == 40
    assert all(isinstance(order, Order) for order in placed)
    assert ordered(shop) == dict.fromkeys(range(1, 6), 8)
    assert_consistent(pooled, shop)


def test_concurrent_keys_get_one_order_or_sold_out_for_the_last_units(
    pooled: Orders, shop: Stores
) -> None:
    pooled.stock.read(range(1, 6))
    requests = [(1, 1, 7, f"k{n}") for n in range(30)]
    results_of = send_all(pooled, shuffled(requests, times=4))
    orders = [
        {found for found in results if isinstance(found, Order)} for results in results_of.values()
    ]
    assert sorted(map(len, orders)) == [0] * 20 + [1] * 10
    assert ordered(shop) == {1: 10}
    assert_consistent(pooled, shop)


def test_of_concurrent_different_orders_under_one_key_one_is_placed(
    pooled: Orders, shop: Stores
) -> None:
    pooled.stock.read(range(1, 6))
    requests = [(1, units, 7, "k") for units in (1, 2, 3)]
    results_of = send_all(pooled, shuffled(requests, times=10))
    results = set.union(*results_of.values())
    orders = {found for found in results if isinstance(found, Order)}
    errors = {found for found in results if isinstance(found, str)}
    assert len(orders) == 1
    assert errors == {"for another order"}
    assert_consistent(pooled, shop)


@pytest.mark.verify
def test_concurrent_retries_survive_a_flush_of_redis(pooled: Orders, shop: Stores) -> None:
    requests = [(n % 5 + 1, 1, 7, f"k{n}") for n in range(40)]
    over = threading.Event()

    def flush() -> None:
        while not over.wait(0.02):
            shop.redis.flushdb()

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        results_of = send_all(pooled, shuffled(requests, times=4))
    finally:
        over.set()
        flushing.join()
    for request, found in send_all(pooled, requests).items():
        results_of[request] |= found
    for results in results_of.values():
        assert len({found for found in results if isinstance(found, Order)}) == 1
    assert ordered(shop) == dict.fromkeys(range(1, 6), 8)
    pooled.stock.read(range(1, 6))
    reconcile(pooled.stock, in_doubt_seconds=0)
    assert_consistent(pooled, shop)


@pytest.mark.verify
def test_several_relays_run_while_orders_are_placed(
    pooled: Orders, shop: Stores, connect_again: Callable[[], Stores]
) -> None:
    for product in range(1, 6):
        pooled.stock.set_on_hand(product, 100)
    requests = [(n % 5 + 1, 1, n % 7 + 1, f"k{n}") for n in range(120)]
    over = threading.Event()

    def relay_all(stores: Stores) -> int:
        relayed = 0
        while True:
            last = over.is_set()
            rows = relay(stores, most=7)
            relayed += rows
            if last and not rows:
                return relayed

    with ThreadPoolExecutor(RELAYS) as pool:
        relays = [pool.submit(relay_all, connect_again()) for _ in range(RELAYS)]
        try:
            results_of = send_all(pooled, shuffled(requests, times=3))
        finally:
            over.set()
        relayed = sum(call.result() for call in relays)
    assert relayed >= len(results_of) == 120
    assert ordered(shop) == dict.fromkeys(range(1, 6), 24)
    assert_relayed(shop)
    assert_consistent(pooled, shop)
