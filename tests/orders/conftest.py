"""A shop that has a few products, and units of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.shop.orders import Orders
from helpers.shop.schema import create_shop, drop_shop
from helpers.shop.stock import Stock
from helpers.stores import Stores


@pytest.fixture
def shop(shared: Stores) -> Iterator[Stores]:
    """Products 1 to 5, 10 units each; of product 6 no stock was ever recorded."""
    drop_shop(shared)
    create_shop(shared)
    with shared.postgres.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO products VALUES (%s, 'thing', 1, 'c')", [(one,) for one in range(1, 7)]
        )
    Stock.of(shared).ledger.set_on_hand(dict.fromkeys(range(1, 6), 10))
    yield shared
    drop_shop(shared)


@pytest.fixture
def orders(shop: Stores) -> Orders:
    return Orders.of(shop)
