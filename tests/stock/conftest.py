"""A shop with a few products in its ledger, and a clock that tests move by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from helpers.stock import Ledger, Stock
from helpers.stock.ledger import OneConnection
from helpers.stores import Stores
from tests.snapshots import filled_shop


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


def fill(stores: Stores) -> None:
    """Products 1 to 5 in the ledger, 10 units each, except product 5 with 0 units."""
    Ledger(OneConnection(stores.postgres)).set_on_hand({1: 10, 2: 10, 3: 10, 4: 10, 5: 0})


@pytest.fixture
def shop(shared: Stores) -> Stores:
    """Products 1 to 5 in the ledger, 10 units each, except product 5 with 0 units."""
    return filled_shop(shared, fill)


@pytest.fixture
def stock(shop: Stores, clock: Clock) -> Stock:
    return Stock(shop.redis, Ledger(OneConnection(shop.postgres)), clock=clock)
