"""Setting the units on hand: it is idempotent, and may run while clients buy."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.errors import ReservationError, SoldOutError, StockError, UnknownProductError
from helpers.stock import Ledger, Stock, reconcile
from helpers.stores import Stores
from helpers.validation import LARGEST_ID, MOST_UNITS
from tests.stock.agreement import assert_agreement, on_hand, sold
from tests.stock.test_counts import Untouchable


@pytest.fixture
def stock(stock: Stock, shop: Stores) -> Stock:
    """The stock of products 1 to 5 with all counts in Redis; product 6 has no stock."""
    with shop.postgres.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO products VALUES (%s, 'thing', 1, 'c')",
            [(n,) for n in range(1, 7)],
        )
    stock.read(range(1, 6))
    return stock


def movements(shop: Stores) -> int:
    row = shop.postgres.execute("SELECT count(*) FROM stock_movements").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("units", [0, 4, 10, 25, MOST_UNITS])
def test_units_on_hand_are_available(stock: Stock, shop: Stores, units: int) -> None:
    assert stock.set_on_hand(1, units) == units
    assert on_hand(shop.postgres)[1] == units
    assert stock.read([1]) == {1: units}
    assert_agreement(shop.postgres, shop.redis)


def test_setting_the_same_units_again_changes_nothing(stock: Stock, shop: Stores) -> None:
    stock.set_on_hand(1, 4)
    before = movements(shop)
    assert stock.set_on_hand(1, 4) == 4
    assert movements(shop) == before
    assert not stock.ledger.recount(1, 4)
    assert stock.ledger.recount(1, 5)


def test_reserved_units_are_on_hand_but_not_available(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3})
    assert stock.set_on_hand(1, 20) == 17
    stock.confirm(reservation)
    assert stock.set_on_hand(1, 20) == 20
    assert_agreement(shop.postgres, shop.redis)


def test_if_more_are_reserved_than_on_hand_the_last_confirmations_are_rejected(
    stock: Stock, shop: Stores
) -> None:
    first, second, third = (stock.reserve({1: 3}) for _ in range(3))
    assert stock.set_on_hand(1, 5) == 0
    assert stock.read([1]) == {1: 0}
    with pytest.raises(SoldOutError) as caught:
        stock.reserve({1: 1})
    assert caught.value.available == {1: 0}
    stock.confirm(second)
    with pytest.raises(ReservationError, match="the ledger has too few units"):
        stock.confirm(first)
    stock.release(third)
    assert sold(shop.postgres) == {1: 3}
    assert stock.read([1]) == {1: 2}
    assert reconcile(stock).findings == []
    assert_agreement(shop.postgres, shop.redis)


def test_released_units_first_cover_the_shortage(stock: Stock, shop: Stores) -> None:
    first, second = stock.reserve({1: 5}), stock.reserve({1: 5})
    assert stock.set_on_hand(1, 4) == 0
    stock.release(first)
    assert stock.read([1]) == {1: 0}
    stock.release(second)
    assert stock.read([1]) == {1: 4}
    assert_agreement(shop.postgres, shop.redis)


def test_a_product_without_stock_can_get_its_first_units(stock: Stock) -> None:
    assert stock.read([6]) == {6: None}
    assert stock.set_on_hand(6, 4) == 4
    assert stock.reserve({6: 4}).items == ((6, 4),)


def test_setting_the_stock_of_a_product_that_the_shop_does_not_have_raises(
    stock: Stock, shop: Stores
) -> None:
    with pytest.raises(UnknownProductError, match="The shop does not know product 77") as caught:
        stock.set_on_hand(77, 4)
    assert caught.value.product_ids == [77]
    assert 77 not in on_hand(shop.postgres)
    assert shop.redis.exists("stock:77") == 0


def test_unknown_products_are_listed_in_the_error(stock: Stock) -> None:
    with pytest.raises(UnknownProductError) as caught:
        stock.reserve({1: 1, 77: 1, 78: 1})
    assert caught.value.product_ids == [77, 78]


@pytest.mark.parametrize("units", [-1, True, 1.0, "1", None, MOST_UNITS + 1])
def test_invalid_units_raise_stock_error_before_anything_is_sent(units: Any) -> None:
    untouchable: Any = Untouchable()
    with pytest.raises(StockError, match="is not a valid number of units"):
        Stock(untouchable, Ledger(untouchable)).set_on_hand(1, units)


@pytest.mark.parametrize("product_id", [0, -1, True, 1.0, "1", None, LARGEST_ID + 1])
def test_an_invalid_product_raises_stock_error_before_anything_is_sent(product_id: Any) -> None:
    untouchable: Any = Untouchable()
    with pytest.raises(StockError, match="is not a valid product id"):
        Stock(untouchable, Ledger(untouchable)).set_on_hand(product_id, 1)
