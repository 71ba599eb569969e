"""A failure at any step: no order without its sale, no sale without its order, no unit lost."""

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
    """The process ends here, as far as the shop can tell."""


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all counts read."""
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


def test_a_crash_between_recording_and_settling_leaves_an_order_that_is_settled_later(
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


def test_an_order_that_is_recorded_stands_though_redis_fails_afterwards(
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
def test_an_order_that_cannot_be_written_is_not_sold(
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
    # Whoever tries again before it is decided, goes on where it was left.
    order = orders.place(1, 3, 7, token=token)
    assert ordered(shop) == sold(shop.postgres) == {1: 3}
    assert orders.find(order.id) == order
    assert_all_agree(shop)


def test_an_order_that_was_not_written_in_time_is_given_up_for_good(
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
def test_what_fails_before_the_sale_has_begun_gives_the_units_back_at_once(
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


def test_where_that_fails_too_the_units_go_back_by_their_deadline(
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


def test_a_claim_whose_answer_was_lost_is_decided_by_the_ledger(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_confirmation = orders.stock.reservations.start_confirmation

    def deaf(*arguments: Any) -> Any:
        start_confirmation(*arguments)
        raise redis.TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(orders.stock.reservations, "start_confirmation", deaf)
        with pytest.raises(redis.TimeoutError):
            orders.place(1, 3, 7)
    assert states(shop) == ["confirming"]
    assert kinds(orders) == ["in doubt"]
    assert states(shop) == ["released"]
    assert orders.stock.read([1]) == {1: 10}
    assert_all_agree(shop)


def test_a_commit_whose_answer_was_lost_is_found_by_its_token(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = orders.new_token()
    record_sale = orders.stock.ledger.record_sale

    def deaf(*arguments: Any, **options: Any) -> Any:
        record_sale(*arguments, **options)
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(orders.stock.ledger, "record_sale", deaf)
        with pytest.raises(psycopg.OperationalError):
            orders.place(1, 3, 7, token=token)
    order = orders.place(1, 3, 7, token=token)
    assert orders.find(order.id) == order
    assert ordered(shop) == sold(shop.postgres) == {1: 3}
    assert kinds(orders) == ["in doubt"]
    assert_all_agree(shop)
