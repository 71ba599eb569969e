"""A shop with a few products and their stock."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.orders.orders import Orders
from helpers.stock import Ledger, Stock
from helpers.stores import Stores
from helpers.stores.stores import connect_all
from tests.snapshots import filled_shop
from tests.stock.test_counts import Untouchable


def fill(stores: Stores) -> None:
    """Products 1 to 5, 10 units each; product 6 has no stock record."""
    with stores.postgres.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO products VALUES (%s, 'thing', 1, 'c')",
            [(n,) for n in range(1, 7)],
        )
    Stock.of(stores).ledger.set_on_hand(dict.fromkeys(range(1, 6), 10))


@pytest.fixture
def shop(shared: Stores) -> Stores:
    """Products 1 to 5, 10 units each; product 6 has no stock record."""
    return filled_shop(shared, fill)


@pytest.fixture
def orders(shop: Stores) -> Orders:
    return Orders.of(shop)


@pytest.fixture
def unusable_orders() -> Orders:
    """Orders whose stores must not be used: any access fails the test."""
    untouchable: Any = Untouchable()
    return Orders(Stock(untouchable, Ledger(untouchable)))


@pytest.fixture
def connect_again(shop: Stores) -> Iterator[Callable[[], Stores]]:
    """Return a function that opens more connections, as another process would."""
    number = shop.redis.connection_pool.connection_kwargs.get("db")
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(
            connect_all(shop.addresses, database=shop.mongo.name, redis_database=number)
        )
