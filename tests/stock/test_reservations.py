"""Reservations: all or nothing, until a deadline, and every step is idempotent."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.errors import ReservationError, SoldOutError, StockError
from helpers.stock import Ledger, Stock
from helpers.stock.reservations import TRANSITIONS
from helpers.stores import Stores
from helpers.validation import LARGEST_ID, MOST_UNITS
from tests.stock.agreement import assert_agreement, on_hand, sold
from tests.stock.conftest import Clock
from tests.stock.test_counts import Untouchable


def test_reserved_units_are_no_longer_available(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3, 2: 1})
    assert reservation.items == ((1, 3), (2, 1))
    assert stock.read([1, 2, 3]) == {1: 7, 2: 9, 3: 10}
    assert on_hand(shop.postgres)[1] == 10
    assert_agreement_of_read(stock, shop)


def assert_agreement_of_read(stock: Stock, shop: Stores) -> None:
    stock.read(range(1, 6))
    assert_agreement(shop.postgres, shop.redis)


def test_a_confirmed_reservation_is_sold_once(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3, 2: 1})
    stock.confirm(reservation)
    stock.confirm(reservation)
    stock.confirm(reservation.token)
    assert sold(shop.postgres) == {1: 3, 2: 1}
    assert stock.read([1, 2]) == {1: 7, 2: 9}
    assert stock.reservations.state(reservation.token) == "confirmed"
    assert_agreement_of_read(stock, shop)
    with pytest.raises(ReservationError, match="is confirmed"):
        stock.release(reservation)


def test_a_released_reservation_returns_its_units_once(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3})
    stock.release(reservation)
    stock.release(reservation.token)
    assert stock.read([1]) == {1: 10}
    with pytest.raises(ReservationError, match="is released"):
        stock.confirm(reservation)
    assert sold(shop.postgres) == {}
    assert_agreement_of_read(stock, shop)


def test_several_products_are_reserved_all_or_none(stock: Stock, shop: Stores) -> None:
    with pytest.raises(SoldOutError) as caught:
        stock.reserve({1: 3, 2: 11, 5: 1})
    assert caught.value.available == {2: 10, 5: 0}
    assert stock.read([1, 2, 5]) == {1: 10, 2: 10, 5: 0}
    assert_agreement_of_read(stock, shop)


def test_the_last_unit_can_be_reserved_and_no_more(stock: Stock) -> None:
    stock.reserve({1: 10})
    with pytest.raises(SoldOutError, match="product 1 has 0 available"):
        stock.reserve({1: 1})


def test_reserving_an_unknown_product_raises(stock: Stock) -> None:
    with pytest.raises(StockError, match="The ledger does not know product 77"):
        stock.reserve({1: 1, 77: 1})
    assert stock.read([1]) == {1: 10}


def test_the_same_token_reserves_once(stock: Stock) -> None:
    first = stock.reserve({1: 4}, token="cart-1")
    assert stock.reserve({1: 4}, token="cart-1") == first
    assert stock.read([1]) == {1: 6}
    with pytest.raises(ReservationError, match="for other items"):
        stock.reserve({1: 5}, token="cart-1")
    stock.confirm(first)
    assert stock.reserve({1: 4}, token="cart-1") == first
    assert stock.read([1]) == {1: 6}


def test_the_token_of_an_ended_reservation_cannot_reserve_again(stock: Stock) -> None:
    stock.release(stock.reserve({1: 4}, token="cart-1"))
    with pytest.raises(ReservationError, match="is released"):
        stock.reserve({1: 4}, token="cart-1")
    assert stock.read([1]) == {1: 10}


def test_the_same_token_returns_its_reservation_although_all_is_sold_out(stock: Stock) -> None:
    first = stock.reserve({1: 10}, token="all")
    assert stock.reserve({1: 10}, token="all") == first


def test_a_reservation_cannot_be_confirmed_after_its_deadline(
    stock: Stock, shop: Stores, clock: Clock
) -> None:
    reservation = stock.reserve({1: 3}, hold_seconds=60)
    clock.move(60)
    with pytest.raises(ReservationError, match="is expired"):
        stock.confirm(reservation)
    assert stock.read([1]) == {1: 10}
    assert sold(shop.postgres) == {}


def test_a_reservation_can_be_confirmed_until_its_deadline(stock: Stock, clock: Clock) -> None:
    reservation = stock.reserve({1: 3}, hold_seconds=60)
    clock.move(59.999)
    assert stock.sweep() == []
    stock.confirm(reservation)
    clock.move(1000)
    assert stock.sweep() == []
    assert stock.read([1]) == {1: 7}


def test_sweep_expires_reservations_past_their_deadline(
    stock: Stock, shop: Stores, clock: Clock
) -> None:
    early = [stock.reserve({1: 1}, hold_seconds=10).token for _ in range(5)]
    late = stock.reserve({1: 1}, hold_seconds=100)
    clock.move(10)
    assert sorted(stock.sweep()) == sorted(early)
    assert stock.sweep() == []
    assert stock.read([1]) == {1: 9}
    assert {stock.reservations.state(token) for token in early} == {"expired"}
    assert stock.reservations.state(late.token) == "reserved"
    stock.release(early[0])  # it has expired: nothing changes
    assert stock.read([1]) == {1: 9}
    assert_agreement_of_read(stock, shop)


def test_sweep_removes_deadlines_without_a_reserved_reservation(
    stock: Stock, shop: Stores, clock: Clock
) -> None:
    sold_one = stock.reserve({1: 1}, token="sold", hold_seconds=10)
    stock.confirm(sold_one)
    late = stock.reserve({1: 1}, token="late", hold_seconds=10)
    shop.redis.zadd("shop:reservations:deadlines", {"sold": clock(), "lost": clock()})
    clock.move(10)
    assert stock.sweep() == [late.token]
    assert stock.reservations.overdue() == []
    assert stock.read([1]) == {1: 9}


def test_reserve_sweeps_before_it_reports_sold_out(stock: Stock, clock: Clock) -> None:
    stock.reserve({1: 10}, hold_seconds=10)
    with pytest.raises(SoldOutError):
        stock.reserve({1: 1})
    clock.move(10)
    assert stock.reserve({1: 10}).items == ((1, 10),)


def test_release_leaves_a_missing_count_to_the_ledger(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3})
    shop.redis.delete("stock:1")
    stock.release(reservation)
    assert shop.redis.exists("stock:1") == 0
    assert stock.read([1]) == {1: 10}


def test_a_lost_count_is_rebuilt_without_reserved_units(stock: Stock, shop: Stores) -> None:
    stock.reserve({1: 3})
    stock.confirm(stock.reserve({1: 2}))
    shop.redis.delete("stock:1")
    assert stock.read([1]) == {1: 5}
    assert_agreement_of_read(stock, shop)


def test_confirming_units_are_counted_once_before_and_after_the_sale_is_recorded(
    stock: Stock, shop: Stores
) -> None:
    reservation = stock.reserve({1: 3})
    assert stock.reservations.start_confirmation(reservation) == "confirming"
    shop.redis.delete("stock:1")
    assert stock.read([1]) == {1: 7}
    stock.ledger.record_sale(reservation.token, reservation.items)
    shop.redis.delete("stock:1")
    assert stock.read([1]) == {1: 7}
    stock.reservations.finish_confirmation(reservation)
    shop.redis.delete("stock:1")
    assert stock.read([1]) == {1: 7}


@pytest.mark.parametrize("step", ["start_confirmation", "finish_confirmation"])
def test_a_count_read_before_a_sale_is_not_stored_after_it(
    stock: Stock, shop: Stores, step: str
) -> None:
    """A client that is reading the ledger must read again if a sale starts or ends."""
    reservation = stock.reserve({1: 3})
    if step == "finish_confirmation":
        stock.reservations.start_confirmation(reservation)
        stock.ledger.record_sale(reservation.token, reservation.items)
    shop.redis.set("shop:lease:1", "reader")
    getattr(stock.reservations, step)(reservation)
    assert stock.counts._store([1], {1: 10}, "reader") == []


def test_a_count_that_is_too_high_does_not_oversell(stock: Stock, shop: Stores) -> None:
    """The ledger decides: the buyer is rejected, and no unit is sold twice."""
    stock.read([1])
    shop.redis.set("stock:1", 1000)
    first, second = stock.reserve({1: 8}), stock.reserve({1: 8})
    stock.confirm(first)
    with pytest.raises(ReservationError, match="the ledger has too few units"):
        stock.confirm(second)
    with pytest.raises(ReservationError, match="is released"):
        stock.confirm(second)
    assert sold(shop.postgres) == {1: 8}
    assert_agreement_of_read(stock, shop)
    assert stock.read([1]) == {1: 2}


def test_confirming_a_recorded_sale_succeeds_after_redis_lost_it(
    stock: Stock, shop: Stores
) -> None:
    reservation = stock.reserve({1: 3})
    stock.confirm(reservation)
    shop.redis.flushdb()
    stock.confirm(reservation)
    assert sold(shop.postgres) == {1: 3}


def test_a_reservation_that_redis_lost_cannot_be_confirmed(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3})
    shop.redis.flushdb()
    for which in (reservation, reservation.token):
        with pytest.raises(ReservationError, match="is unknown"):
            stock.confirm(which)
    assert stock.read([1]) == {1: 10}


def test_finishing_an_unknown_reservation_deletes_the_count(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3})
    stock.reservations.start_confirmation(reservation)
    shop.redis.flushdb()
    assert stock.read([1]) == {1: 10}  # the sale is not in the ledger yet
    stock.ledger.record_sale(reservation.token, reservation.items)
    assert stock.reservations.finish_confirmation(reservation) == "unknown"
    assert stock.read([1]) == {1: 7}


def test_a_delivery_is_counted_once(stock: Stock) -> None:
    stock.restock(1, 5, delivery="lorry-1")
    stock.restock(1, 5, delivery="lorry-1")
    assert stock.read([1]) == {1: 15}


def test_a_token_never_equals_the_name_of_another_movement(stock: Stock, shop: Stores) -> None:
    for token in ("opening", "delivery", "recount"):
        stock.confirm(stock.reserve({1: 1}, token=token))
    stock.restock(1, 1, delivery="opening")
    assert sold(shop.postgres) == {1: 3}
    assert stock.read([1]) == {1: 8}


NOT_QUANTITIES = [0, -1, True, 1.0, 1.5, "1", None, MOST_UNITS + 1, 10**30, float("nan")]


@pytest.mark.parametrize("quantity", NOT_QUANTITIES)
def test_an_invalid_quantity_raises_stock_error_before_anything_is_sent(quantity: Any) -> None:
    stock = Stock(Untouchable(), Untouchable())  # type: ignore[arg-type]
    with pytest.raises(StockError, match="is not a valid number of units"):
        stock.reserve({1: 1, 2: quantity})
    with pytest.raises(StockError, match="is not a valid number of units"):
        Ledger(Untouchable()).deliver(1, quantity, "x")


@pytest.mark.parametrize("product_id", [0, -1, "1", True, 1.5, LARGEST_ID + 1, None])
def test_an_invalid_product_id_raises_stock_error_before_anything_is_sent(product_id: Any) -> None:
    stock = Stock(Untouchable(), Untouchable())  # type: ignore[arg-type]
    with pytest.raises(StockError, match="is not a valid product id"):
        stock.reserve({product_id: 1, 5: 1})


@pytest.mark.parametrize("token", ["", "a b", "x" * 65, "a:b", "é", 7, b"x", "a\n"])
def test_an_invalid_token_raises_stock_error_before_anything_is_sent(token: Any) -> None:
    stock = Stock(Untouchable(), Untouchable())  # type: ignore[arg-type]
    for call in (lambda: stock.reserve({1: 1}, token=token), lambda: stock.confirm(token)):
        with pytest.raises(StockError, match="cannot name a reservation"):
            call()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "9", True, 10**9])
def test_an_invalid_hold_time_raises_stock_error_before_anything_is_sent(seconds: Any) -> None:
    stock = Stock(Untouchable(), Untouchable())  # type: ignore[arg-type]
    with pytest.raises(StockError, match="time to hold"):
        stock.reserve({1: 1}, hold_seconds=seconds)


@pytest.mark.parametrize("count", [0, 101])
def test_reserving_no_products_or_too_many_raises_stock_error(stock: Stock, count: int) -> None:
    with pytest.raises(StockError, match="cannot be reserved together"):
        stock.reserve(dict.fromkeys(range(1, count + 1), 1))


def test_every_state_is_reachable_and_leads_to_a_final_state(stock: Stock) -> None:
    ends = {after for _, _, after in TRANSITIONS} - {before for before, _, _ in TRANSITIONS}
    assert ends == {"confirmed", "released", "expired"}
    reached = {"reserved"}
    for _ in TRANSITIONS:
        reached |= {after for before, _, after in TRANSITIONS if before in reached}
    assert reached == {state for step in TRANSITIONS for state in (step[0], step[2])}
