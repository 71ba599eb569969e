"""Keys: a request that is repeated under the client's own key is one order, whatever was lost."""

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
from tests.orders.agreement import assert_keys_agree, assert_whole, ordered
from tests.orders.test_orders_failures import CrashError, fail, states


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all counts read."""
    orders.stock.read(range(1, 6))
    return orders


def assert_one_order(orders: Orders, shop: Stores, units: int) -> None:
    assert ordered(shop) == {1: units}
    assert_whole(orders, shop)


def test_the_same_key_places_one_order(orders: Orders, shop: Stores) -> None:
    order = orders.place(1, 3, 7, key="a-1_B")
    assert orders.place(1, 3, 7, key="a-1_B") == order
    assert orders.find(order.id) == order
    assert orders.stock.read([1]) == {1: 7}
    assert_one_order(orders, shop, 3)


def test_different_keys_and_none_place_different_orders(orders: Orders, shop: Stores) -> None:
    placed = [orders.place(1, 1, 7, key=key) for key in ("a", "A", "b", None, None)]
    assert len({order.id for order in placed}) == 5
    assert_one_order(orders, shop, 5)


def test_a_key_that_redis_has_forgotten_still_places_one_order(
    orders: Orders, shop: Stores
) -> None:
    order = orders.place(1, 3, 7, key="k")
    shop.redis.flushdb()
    assert orders.place(1, 3, 7, key="k") == order
    assert_one_order(orders, shop, 3)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("other", [(1, 2, 7), (1, 3, 8)])
def test_a_key_is_not_taken_for_another_order(
    orders: Orders, shop: Stores, other: tuple[int, int, int], lost: bool
) -> None:
    orders.place(1, 3, 7, key="k")
    if lost:
        shop.redis.flushdb()
    with pytest.raises(KeyReusedError, match=r"k is for another order\. Give every order a key"):
        orders.place(*other, key="k")
    assert_one_order(orders, shop, 3)


def test_a_key_whose_order_somebody_deleted_is_refused(orders: Orders, shop: Stores) -> None:
    orders.place(1, 3, 7, key="k")
    shop.postgres.execute("DELETE FROM orders")
    with pytest.raises(ReservationError, match="sold, but not as an order"):
        orders.place(1, 3, 7, key="k")
    shop.redis.flushdb()
    with pytest.raises(ReservationError, match="k is for an order that is gone"):
        orders.place(1, 3, 7, key="k")
    assert orders.place(1, 3, 7, key="another").quantity == 3
    assert ordered(shop) == {1: 3}


def test_a_key_is_one_products(orders: Orders, shop: Stores) -> None:
    first, second = orders.place(1, 3, 7, key="k"), orders.place(2, 3, 7, key="k")
    assert first.id != second.id
    assert orders.place(2, 3, 7, key="k") == second
    assert ordered(shop) == {1: 3, 2: 3}
    assert_keys_agree(shop)


@pytest.mark.parametrize("wrong", ["", "a" * 65, "a b", "a\n", "ä", "a:b", 1, b"a", True])
def test_what_is_no_key_is_refused_before_anything_is_sent(sealed: Orders, wrong: Any) -> None:
    with pytest.raises(StockError, match=r"cannot name .* an order: give up to 64"):
        sealed.place(1, 1, 7, key=wrong)


def test_a_key_and_a_token_are_not_given_together(sealed: Orders) -> None:
    with pytest.raises(StockError, match="not both"):
        sealed.place(1, 1, 7, key="k", token="order-1000000000001")


def test_the_longest_key_names_an_order(orders: Orders) -> None:
    order = orders.place(1, 1, 7, key="k" * 64)
    assert orders.place(1, 1, 7, key="k" * 64) == order


def test_a_key_is_found_on_one_node(orders: Orders, shop: Stores) -> None:
    orders.place(1, 3, 7, key="k")
    assert explain(shop.postgres, order_rows._FIND_BY_KEY, [1, "k"]).task_count == 1


def test_what_was_not_sold_leaves_no_key(orders: Orders, shop: Stores) -> None:
    with pytest.raises(SoldOutError):
        orders.place(1, 11, 7, key="k")
    with pytest.raises(UnknownProductError):
        orders.place(77, 1, 7, key="k")
    assert shop.postgres.execute("SELECT * FROM order_keys").fetchall() == []
    order = orders.place(1, 2, 7, key="k")
    assert orders.place(1, 2, 7, key="k") == order
    assert_one_order(orders, shop, 2)


@pytest.mark.parametrize("error", [CrashError(), redis.ConnectionError()])
def test_a_key_may_be_used_again_when_its_units_went_back(
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
def test_a_key_goes_on_where_it_was_left_unless_that_was_given_up(
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


def doubted(orders: Orders) -> Orders:
    """Orders of which the first is taken for cut short while it is being confirmed."""
    undone = False

    def doubt(moment: str, step: str) -> None:
        nonlocal undone
        if (moment, step) == ("before", "record") and not undone:
            undone = True
            reconcile(orders.stock, in_doubt_seconds=0)

    return Orders(orders.stock, doubt)


def test_what_is_undone_while_it_is_confirmed_is_begun_anew_under_its_key(
    orders: Orders, shop: Stores
) -> None:
    order = doubted(orders).place(1, 3, 7, key="k")
    assert orders.place(1, 3, 7, key="k") == order
    assert sorted(states(shop)) == ["confirmed", "released"]
    assert_one_order(orders, shop, 3)


def test_without_a_key_it_is_refused_and_not_for_want_of_units(
    orders: Orders, shop: Stores
) -> None:
    with pytest.raises(ReservationError, match=r"is released\. Reserve again"):
        doubted(orders).place(1, 3, 7)
    assert states(shop) == ["released"]
    assert ordered(shop) == {}
    assert_whole(orders, shop)


def overtaken(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, units: int, customer: int = 7
) -> list[Any]:
    """Let another place an order under the key after ours has looked for it in vain.

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


def test_of_two_numbers_under_one_key_the_second_is_undone(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtaken(orders, shop, monkeypatch, 3)
    assert [orders.place(1, 3, 7, key="k")] == others
    assert sorted(states(shop)) == ["released"]
    assert_one_order(orders, shop, 3)


def test_who_was_overtaken_by_another_order_under_the_key_is_told(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtaken(orders, shop, monkeypatch, 3, customer=8)
    with pytest.raises(ReservationError, match="k is for another order"):
        orders.place(1, 3, 7, key="k")
    assert_one_order(orders, shop, 3)


def test_who_was_overtaken_on_the_last_units_gets_the_order(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtaken(orders, shop, monkeypatch, 10)
    assert [orders.place(1, 10, 7, key="k")] == others
    assert_one_order(orders, shop, 10)


def test_who_was_overtaken_gets_the_order_though_redis_promised_more(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtaken(orders, shop, monkeypatch, 10)
    reserve = orders.stock.reservations.reserve

    def promising(*arguments: Any, **options: Any) -> Any:
        if others[0] is not None:
            shop.redis.set("stock:1", 1000)
        return reserve(*arguments, **options)

    monkeypatch.setattr(orders.stock.reservations, "reserve", promising)
    assert [orders.place(1, 10, 7, key="k")] == others
    assert_one_order(orders, shop, 10)


def test_what_is_undone_is_left_to_reconcile_where_redis_fails(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = overtaken(orders, shop, monkeypatch, 3)
    with monkeypatch.context() as patch:
        fail(patch, orders.stock.reservations, "cancel", redis.ConnectionError())
        assert [orders.place(1, 3, 7, key="k")] == others
    assert states(shop) == ["confirming"]
    reconcile(orders.stock, in_doubt_seconds=0)
    assert_one_order(orders, shop, 3)


def test_a_number_that_was_agreed_on_is_replaced_only_when_given_up(shop: Stores) -> None:
    request = (1, 3, 7, "k")
    agree = order_rows.agree_on_number
    assert agree(shop.redis, request, 11) == 11
    assert agree(shop.redis, request, 12) == 11
    assert agree(shop.redis, request, 13, given_up=12) == 11
    assert agree(shop.redis, request, 14, given_up=11) == 14
    assert agree(shop.redis, request, 15, given_up=11) == 14
    assert agree(shop.redis, (1, 3, 8, "k"), 16) == 16
    assert 0 < shop.redis.ttl("shop:order-number:1:3:7:k") <= 3600


def test_a_shop_that_was_made_without_keys_gets_them(orders: Orders, shop: Stores) -> None:
    shop.postgres.execute("DROP TABLE order_keys")
    create_shop(shop)
    order = orders.place(1, 1, 7, key="k")
    create_shop(shop)
    assert orders.place(1, 1, 7, key="k") == order
    drop_shop(shop)
    assert shop.postgres.execute("SELECT to_regclass('order_keys')").fetchone() == (None,)


def test_two_who_place_the_last_units_under_one_key_both_get_the_order(
    orders: Orders, shop: Stores, beside: Any
) -> None:
    clients = [Orders.of(beside()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for turn in range(4):
            orders.stock.set_on_hand(1, 2)
            calls = [pool.submit(one.place, 1, 2, 7, key=f"k{turn}") for one in clients]
            assert len({call.result() for call in calls}) == 1
            assert ordered(shop) == {1: 2 * (turn + 1)}
    assert_one_order(orders, shop, 8)
