"""A shop that has a few products, and units of them."""

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
    """Products 1 to 5, 10 units each; of product 6 no stock was ever recorded."""
    with stores.postgres.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO products VALUES (%s, 'thing', 1, 'c')", [(one,) for one in range(1, 7)]
        )
    Stock.of(stores).ledger.set_on_hand(dict.fromkeys(range(1, 6), 10))


@pytest.fixture
def shop(shared: Stores) -> Stores:
    """Products 1 to 5, 10 units each; of product 6 no stock was ever recorded."""
    return filled_shop(shared, fill)


@pytest.fixture
def orders(shop: Stores) -> Orders:
    return Orders.of(shop)


@pytest.fixture
def sealed() -> Orders:
    """Orders whose stores must not be used."""
    untouchable: Any = Untouchable()
    return Orders(Stock(untouchable, Ledger(untouchable)))


@pytest.fixture
def beside(shop: Stores) -> Iterator[Callable[[], Stores]]:
    """What connects to the shop's databases once more, as another process would."""
    number = shop.redis.connection_pool.connection_kwargs.get("db")
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(
            connect_all(shop.addresses, database=shop.mongo.name, redis_database=number)
        )
