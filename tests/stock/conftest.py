"""A shop whose ledger knows a few products, and a clock that stands still until it is moved."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from helpers.shop.schema import create_shop
from helpers.shop.stock import Ledger, Stock
from helpers.shop.stock.ledger import OneConnection
from helpers.stores import Stores


@dataclass
class Clock:
    """Milliseconds since 1970, moved by hand."""

    now: int = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += round(1000 * seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(shared: Stores) -> Stores:
    """Products 1 to 5 in the ledger, 10 units each but for product 5, which has none."""
    create_shop(shared)
    shared.postgres.execute("DELETE FROM stock_movements")
    shared.redis.flushdb()
    ledger = Ledger(OneConnection(shared.postgres))
    ledger.set_on_hand({1: 10, 2: 10, 3: 10, 4: 10, 5: 0})
    return shared


@pytest.fixture
def stock(shop: Stores, clock: Clock) -> Stock:
    return Stock(shop.redis, Ledger(OneConnection(shop.postgres)), clock=clock)
