"""Idempotency keys: a request that is retried under its key places one order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis

from helpers.citus.query_plans import explain
from helpers.errors import (
    KeyReusedError,
    ReservationError,
    SoldOutError,
    StockError,
    UnknownProductError,
)
from helpers.orders import order_rows
from helpers.orders import orders as module
from helpers.orders.orders import Orders
from helpers.shop.schema import create_shop, drop_shop
from helpers.stock import reconcile
from helpers.stores import Stores
from tests.orders.agreement import assert_consistent, assert_keys_agree, ordered
from tests.orders.test_orders_failures import CrashError, fail, states


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all stock counts in Redis."""
    orders.stock.read(range(1, 6))
    return orders


def assert_one_order(orders: Orders, shop: Stores, units: int) -> None:
    assert ordered(shop) == {1: units}
    assert_consistent(orders, shop)


def test_retries_reuse_the_same_idempotency_key(orders: Orders, shop: Stores) -> None:
    order = orders.place(1, 3, 7, key="a-1_B")
    assert orders.place(1, 3, 7, key="a-1_B") == order
    assert orders.find(order.id) == order
    assert orders.stock.read([1]) == {1: 7}
    assert_one_order(orders, shop, 3)


def test_different_keys_and_no_key_place_different_orders(orders: Orders, shop: Stores) -> None:
    placed = [orders.place(1, 1, 7, key=key) for key in ("a", "A", "b", None, None)]
    assert len({order.id for order in placed}) == 5
    assert_one_order(orders, shop, 5)


def test_a_key_places_one_order_after_redis_lost_its_data(orders: Orders, shop: Stores) -> None:
    order = orders.place(1, 3, 7, key="k")
    shop.redis.flushdb()
    assert orders.place(1, 3, 7, key="k") == order
    assert_one_order(orders, shop, 3)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("other", [(1, 2, 7), (1, 3, 8)])
def test_a_key_cannot_be_reused_for_another_order(
    orders: Orders, shop: Stores, other: tuple[int, int, int], lost: bool
) -> None:
    orders.place(1, 3, 7, key="k")
    if lost:
        shop.redis.flushdb()
    with pytest.raises(KeyReusedError, match=r"k is for another order\. Give .* different key"):
        orders.place(*other, key="k")
    assert_one_order(orders, shop, 3)


def test_a_key_whose_order_was_deleted_raises_reservation_error(
    orders: Orders, shop: Stores
) -> None:
    orders.place(1, 3, 7, key="k")
    shop.postgres.execute("DELETE FROM orders")
    with pytest.raises(ReservationError, match="sold, but not as an order"):
        orders.place(1, 3, 7, key="k")
    shop.redis.flushdb()
    with pytest.raises(ReservationError, match="k is for an order that is gone"):
        orders.place(1, 3, 7, key="k")
    assert orders.place(1, 3, 7, key="another").quantity == 3
    assert ordered(shop) == {1: 3}


def test_a_key_belongs_to_one_product(orders: Orders, shop: Stores) -> None:
    first, second = orders.place(1, 3, 7, key="k"), orders.place(2, 3, 7, key="k")
    assert first.id != second.id
    assert orders.place(2, 3, 7, key="k") == second
    assert ordered(shop) == {1: 3, 2: 3}
    assert_keys_agree(shop)


@pytest.mark.parametrize("wrong", ["", "a" * 65, "a b", "a\n", "ä", "a:b", 1, b"a", True])
def test_an_invalid_key_raises_stock_error_before_anything_is_sent(
    unusable_orders: Orders, wrong: Any
) -> None:
    with pytest.raises(StockError, match=r"cannot name .* an order: give up to 64"):
        unusable_orders.place(1, 1, 7, key=wrong)


def test_a_key_and_a_token_together_raise_stock_error(unusable_orders: Orders) -> None:
    with pytest.raises(StockError, match="not both"):
        unusable_orders.place(1, 1, 7, key="k", token="order-1000000000001")


def test_a_key_of_maximum_length_places_an_order(orders: Orders) -> None:
    order = orders.place(1, 1, 7, key="k" * 64)
    assert orders.place(1, 1, 7, key="k" * 64) == order


def test_a_lookup_by_key_goes_to_one_shard(orders: Orders, shop: Stores) -> None:
    orders.place(1, 3, 7, key="k")
    assert explain(shop.postgres, order_rows._FIND_BY_KEY, [1, "k"]).task_count == 1


def test_a_failed_order_leaves_no_key(orders: Orders, shop: Stores) -> None:
    with pytest.raises(SoldOutError):
        orders.place(1, 11, 7, key="k")
    with pytest.raises(UnknownProductError):
        orders.place(77, 1, 7, key="k")
    assert shop.postgres.execute("SELECT * FROM order_keys").fetchall() == []
    order = orders.place(1, 2, 7, key="k")
    assert orders.place(1, 2, 7, key="k") == order
    assert_one_order(orders, shop, 2)


@pytest.mark.parametrize("error", [CrashError(), redis.ConnectionError()])
def test_a_key_can_be_used_again_after_its_units_were_released(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, orders.stock.reservations, "start_confirmation", error)
        with pytest.raises(type(error)):
            orders.place(1, 3, 7, key="k")
    assert states(shop) == ["released"]
    order = orders.place(1, 3, 7, key="k")
    assert orders.place(1, 3, 7, key="k") == order
    assert_one_order(orders, shop, 3)


@pytest.mark.parametrize("given_up", [False, True])
def test_a_key_continues_an_interrupted_order_unless_it_was_given_up(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, module, "write_outbox", psycopg.OperationalError())
        with pytest.raises(psycopg.OperationalError):
            orders.place(1, 10, 7, key="k")
    assert states(shop) == ["confirming"]
    assert shop.postgres.execute("SELECT * FROM order_keys").fetchall() == []
    if given_up:
        reconcile(orders.stock, in_doubt_seconds=0)
        assert states(shop) == ["released"]
    order = orders.place(1, 10, 7, key="k")
    assert orders.place(1, 10, 7, key="k") == order
    assert_one_order(orders, shop, 10)


def reconciling(orders: Orders) -> Orders:
    """Return orders of which ``reconcile`` cancels the first while it is being confirmed."""
    undone = False

    def reconcile_once(moment: str, step: str) -> None:
        nonlocal undone
        if (moment, step) == ("before", "record") and not undone:
            undone = True
            reconcile(orders.stock, in_doubt_seconds=0)

    return Orders(orders.stock, reconcile_once)


def test_an_order_cancelled_by_reconcile_is_placed_again_under_its_key(
    orders: Orders, shop: Stores
) -> None:
    order = reconciling(orders).place(1, 3, 7, key="k")
    assert orders.place(1, 3, 7, key="k") == order
    assert sorted(states(shop)) == ["confirmed", "released"]
    assert_one_order(orders, shop, 3)


def test_without_a_key_an_order_cancelled_by_reconcile_raises(orders: Orders, shop: Stores) -> None:
    with pytest.raises(ReservationError, match=r"is released\. Reserve again"):
        reconciling(orders).place(1, 3, 7)
    assert states(shop) == ["released"]
    assert ordered(shop) == {}
    assert_consistent(orders, shop)


def overtake(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, units: int, customer: int = 7
) -> list[Any]:
    """Place a concurrent order under the key, after ours has looked for the key and found none.

    Redis loses the number that both would have agreed on.
    """
    agree = order_rows.agree_on_number
    others: list[Any] = []

    def late(client: redis.Redis, *arguments: Any, **options: Any) -> int:
        if not others:
            others.append(None)
            others[0] = orders.place(1, units, customer, key="k")
            shop.redis.flushdb()
        return agree(client, *arguments, **options)

    monkeypatch.setattr(module, "agree_on_number", late)
    return others


def test_of_two_numbers_under_one_key_the_second_is_rolled_back(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtake(orders, shop, monkeypatch, 3)
    assert [orders.place(1, 3, 7, key="k")] == others
    assert sorted(states(shop)) == ["released"]
    assert_one_order(orders, shop, 3)


def test_a_concurrent_other_order_under_the_key_raises_key_reused_error(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtake(orders, shop, monkeypatch, 3, customer=8)
    with pytest.raises(ReservationError, match="k is for another order"):
        orders.place(1, 3, 7, key="k")
    assert_one_order(orders, shop, 3)


def test_a_concurrent_order_of_the_last_units_under_the_key_is_returned(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtake(orders, shop, monkeypatch, 10)
    assert [orders.place(1, 10, 7, key="k")] == others
    assert_one_order(orders, shop, 10)


def test_a_concurrent_order_is_returned_although_the_count_was_too_high(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtake(orders, shop, monkeypatch, 10)
    reserve = orders.stock.reservations.reserve

    def promising(*arguments: Any, **options: Any) -> Any:
        if others[0] is not None:
            shop.redis.set("stock:1", 1000)
        return reserve(*arguments, **options)

    monkeypatch.setattr(orders.stock.reservations, "reserve", promising)
    assert [orders.place(1, 10, 7, key="k")] == others
    assert_one_order(orders, shop, 10)


def test_a_rolled_back_order_is_left_to_reconcile_if_redis_fails(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtake(orders, shop, monkeypatch, 3)
    with monkeypatch.context() as patch:
        fail(patch, orders.stock.reservations, "cancel", redis.ConnectionError())
        assert [orders.place(1, 3, 7, key="k")] == others
    assert states(shop) == ["confirming"]
    reconcile(orders.stock, in_doubt_seconds=0)
    assert_one_order(orders, shop, 3)


def test_a_stored_order_number_is_replaced_only_if_given_up(shop: Stores) -> None:
    request = (1, 3, 7, "k")
    agree = order_rows.agree_on_number
    assert agree(shop.redis, request, 11) == 11
    assert agree(shop.redis, request, 12) == 11
    assert agree(shop.redis, request, 13, given_up=12) == 11
    assert agree(shop.redis, request, 14, given_up=11) == 14
    assert agree(shop.redis, request, 15, given_up=11) == 14
    assert agree(shop.redis, (1, 3, 8, "k"), 16) == 16
    assert 0 < shop.redis.ttl("shop:order-number:1:3:7:k") <= 3600


def test_create_shop_adds_a_missing_table_of_keys(orders: Orders, shop: Stores) -> None:
    shop.postgres.execute("DROP TABLE order_keys")
    create_shop(shop)
    order = orders.place(1, 1, 7, key="k")
    create_shop(shop)
    assert orders.place(1, 1, 7, key="k") == order
    drop_shop(shop)
    assert shop.postgres.execute("SELECT to_regclass('order_keys')").fetchone() == (None,)


def test_two_clients_with_one_key_both_get_the_order_of_the_last_units(
    orders: Orders, shop: Stores, connect_again: Any
) -> None:
    clients = [Orders.of(connect_again()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for turn in range(4):
            orders.stock.set_on_hand(1, 2)
            calls = [pool.submit(client.place, 1, 2, 7, key=f"k{turn}") for client in clients]
            assert len({call.result() for call in calls}) == 1
            assert ordered(shop) == {1: 2 * (turn + 1)}
    assert_one_order(orders, shop, 8)
