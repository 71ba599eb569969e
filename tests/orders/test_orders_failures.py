"""A failure at any step: every order has a sale, every sale an order, and no unit is lost."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import redis

from helpers.errors import ReservationError
from helpers.orders import orders as module
from helpers.orders.orders import Orders
from helpers.stock import reconcile
from helpers.stores import Stores
from tests.orders.agreement import assert_all_agree, ordered
from tests.stock.agreement import reservations, sold


class CrashError(Exception):
    """A simulated crash: nothing in the shop handles it."""


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all stock counts in Redis."""
    orders.stock.read(range(1, 6))
    return orders


def fail(monkeypatch: pytest.MonkeyPatch, where: object, name: str, error: Exception) -> None:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(where, name, raising)


def states(shop: Stores) -> list[str]:
    return [state for state, _ in reservations(shop.redis).values()]


def kinds(orders: Orders) -> list[str]:
    return [finding.kind for finding in reconcile(orders.stock, in_doubt_seconds=0).findings]


def test_a_crash_between_record_and_finish_leaves_an_order_that_reconcile_finishes(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = orders.new_token()
    with monkeypatch.context() as patch:
        fail(patch, orders.stock.reservations, "finish_confirmation", CrashError())
        with pytest.raises(CrashError):
            orders.place(1, 3, 7, token=token)
    assert ordered(shop) == sold(shop.postgres) == {1: 3}
    assert states(shop) == ["confirming"]
    assert kinds(orders) == ["in doubt"]
    assert states(shop) == ["confirmed"]
    assert orders.place(1, 3, 7, token=token).quantity == 3
    assert orders.stock.read([1]) == {1: 7}
    assert_all_agree(shop)


def test_a_recorded_order_stands_although_redis_fails_afterwards(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, orders.stock.reservations, "finish_confirmation", redis.ConnectionError())
        order = orders.place(1, 3, 7)
    assert orders.find(order.id) == order
    assert states(shop) == ["confirming"]
    assert kinds(orders) == ["in doubt"]
    assert states(shop) == ["confirmed"]
    assert_all_agree(shop)


@pytest.mark.parametrize("error", [CrashError(), psycopg.OperationalError(), redis.RedisError()])
def test_a_failed_write_of_the_order_rolls_back_the_sale(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    token = orders.new_token()
    with monkeypatch.context() as patch:
        fail(patch, module, "_record", error)
        with pytest.raises(type(error)):
            orders.place(1, 3, 7, token=token)
    assert ordered(shop) == sold(shop.postgres) == {}
    assert states(shop) == ["confirming"]
    assert orders.stock.read([1]) == {1: 7}
    # A retry before reconciliation continues the interrupted order.
    order = orders.place(1, 3, 7, token=token)
    assert ordered(shop) == sold(shop.postgres) == {1: 3}
    assert orders.find(order.id) == order
    assert_all_agree(shop)


def test_reconcile_cancels_an_unrecorded_order_for_good(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = orders.new_token()
    with monkeypatch.context() as patch:
        fail(patch, module, "_record", CrashError())
        with pytest.raises(CrashError):
            orders.place(1, 3, 7, token=token)
    assert kinds(orders) == ["in doubt"]
    assert states(shop) == ["released"]
    assert orders.stock.read([1]) == {1: 10}
    for forgotten in (False, True):
        if forgotten:
            shop.redis.flushdb()
            orders.stock.read(range(1, 6))
        with pytest.raises(ReservationError, match="is released"):
            orders.place(1, 3, 7, token=token)
        assert ordered(shop) == sold(shop.postgres) == {}
        assert_all_agree(shop)


@pytest.mark.parametrize("error", [CrashError(), redis.ConnectionError(), redis.TimeoutError()])
def test_a_failure_before_confirming_releases_the_units_at_once(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    token = orders.new_token()
    with monkeypatch.context() as patch:
        fail(patch, orders.stock.reservations, "start_confirmation", error)
        with pytest.raises(type(error)):
            orders.place(1, 3, 7, token=token)
    assert states(shop) == ["released"]
    assert orders.stock.read([1]) == {1: 10}
    with pytest.raises(ReservationError, match="is released"):
        orders.place(1, 3, 7, token=token)
    assert ordered(shop) == {}
    assert_all_agree(shop)


def test_if_the_release_fails_too_the_units_return_at_their_deadline(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for step in ("start_confirmation", "release"):
            fail(patch, orders.stock.reservations, step, redis.ConnectionError())
        with pytest.raises(redis.ConnectionError):
            orders.place(1, 3, 7)
    assert states(shop) == ["reserved"]
    assert orders.stock.sweep() == []
    monkeypatch.setattr(orders.stock.reservations, "_clock", in_an_hour(shop))
    assert len(orders.stock.sweep()) == 1
    assert orders.stock.read([1]) == {1: 10}
    assert_all_agree(shop)


def in_an_hour(shop: Stores) -> Any:
    seconds, _ = shop.redis.time()
    return lambda: 1000 * (seconds + 3600)


def test_a_lost_response_to_confirm_is_decided_by_the_ledger(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_confirmation = orders.stock.reservations.start_confirmation

    def losing_response(*arguments: Any) -> Any:
        start_confirmation(*arguments)
        raise redis.TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(orders.stock.reservations, "start_confirmation", losing_response)
        with pytest.raises(redis.TimeoutError):
            orders.place(1, 3, 7)
    assert states(shop) == ["confirming"]
    assert kinds(orders) == ["in doubt"]
    assert states(shop) == ["released"]
    assert orders.stock.read([1]) == {1: 10}
    assert_all_agree(shop)


def test_a_lost_response_to_the_commit_is_resolved_by_the_token(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = orders.new_token()
    record_sale = orders.stock.ledger.record_sale

    def losing_response(*arguments: Any, **options: Any) -> Any:
        record_sale(*arguments, **options)
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(orders.stock.ledger, "record_sale", losing_response)
        with pytest.raises(psycopg.OperationalError):
            orders.place(1, 3, 7, token=token)
    order = orders.place(1, 3, 7, token=token)
    assert orders.find(order.id) == order
    assert ordered(shop) == sold(shop.postgres) == {1: 3}
    assert kinds(orders) == ["in doubt"]
    assert_all_agree(shop)
