"""Reconciliation: every difference in Redis is found, reported and repaired."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from helpers.stock import Reconciliation, Reservation, Stock, reconcile
from helpers.stores import Stores
from tests.stock.agreement import assert_agreement, sold
from tests.stock.conftest import Clock


def kinds(report: Reconciliation) -> list[tuple[str, str]]:
    return [(finding.kind, finding.subject) for finding in report.findings]


@pytest.fixture
def stock(stock: Stock) -> Stock:
    """The stock, with all counts in Redis."""
    stock.read(range(1, 6))
    return stock


def test_reconcile_finds_nothing_if_everything_agrees(stock: Stock, shop: Stores) -> None:
    stock.confirm(stock.reserve({1: 2, 3: 1}))
    stock.reserve({2: 4})
    stock.release(stock.reserve({4: 1}))
    report = reconcile(stock)
    assert report.findings == []
    assert (report.products, report.reservations) == (5, 3)
    assert str(report) == (
        "5 products and 3 reservations examined: ledger, stock and reservations agree."
    )


DAMAGES: dict[str, tuple[Callable[[Stores], object], list[tuple[str, str]]]] = {
    "too high": (lambda shop: shop.redis.set("stock:1", 99), [("count", "1")]),
    "too low": (lambda shop: shop.redis.decr("stock:1", 3), [("count", "1")]),
    "below zero": (lambda shop: shop.redis.set("stock:1", -4), [("count", "1")]),
    "lost": (
        lambda shop: shop.redis.delete("stock:1", "stock:5"),
        [("count", "1"), ("count", "5")],
    ),
    "no number": (lambda shop: shop.redis.set("stock:1", "many"), [("count", "1")]),
    "unknown product": (lambda shop: shop.redis.set("stock:77", 5), [("count", "77")]),
    "of no product": (lambda shop: shop.redis.set("stock:x", 5), [("stray key", "stock:x")]),
    "entry lost": (lambda shop: shop.redis.delete("shop:reserved:2"), [("entry", "kept")]),
    "deadline lost": (
        lambda shop: shop.redis.delete("shop:reservations:deadlines"),
        [("entry", "kept")],
    ),
    "reservation lost": (
        lambda shop: shop.redis.delete("shop:reservation:kept"),
        [("entry", "kept"), ("count", "2")],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_reconcile_finds_and_repairs_every_damage(stock: Stock, shop: Stores, damage: str) -> None:
    spoil, expected = DAMAGES[damage]
    stock.reserve({2: 4}, token="kept")
    spoil(shop)
    assert kinds(reconcile(stock)) == expected
    shop.redis.delete("stock:x")
    assert reconcile(stock).findings == []
    assert_agreement(shop.postgres, shop.redis)


def test_the_report_describes_every_repair(stock: Stock, shop: Stores) -> None:
    shop.redis.set("stock:1", 99)
    shop.redis.delete("stock:2")
    shop.redis.set("stock:77", 1)
    assert str(reconcile(stock)) == (
        "5 products and 0 reservations examined, 3 differences repaired:\n"
        "  count: product 1: was 99, set to 10\n"
        "  count: product 2: was missing, set to 10\n"
        "  count: product 77: was 1, the ledger does not know it: deleted"
    )


def test_reconcile_expires_overdue_reservations(stock: Stock, shop: Stores, clock: Clock) -> None:
    stock.reserve({1: 3}, hold_seconds=10, token="late")
    clock.move(11)
    assert kinds(reconcile(stock)) == [("overdue", "late")]
    assert stock.read([1]) == {1: 10}
    assert_agreement(shop.postgres, shop.redis)


def confirming(stock: Stock) -> Reservation:
    reservation = stock.reserve({1: 3, 2: 1}, token="doubtful")
    assert stock.reservations.start_confirmation(reservation) == "confirming"
    return reservation


def test_a_confirmation_interrupted_before_the_record_is_cancelled_for_good(
    stock: Stock, shop: Stores
) -> None:
    reservation = confirming(stock)
    assert kinds(reconcile(stock, in_doubt_seconds=0)) == [("in doubt", "doubtful")]
    assert stock.reservations.state("doubtful") == "released"
    # A slow client that continues now cannot record the sale any more.
    assert stock.ledger.record_sale(reservation.token, reservation.items) == "cancelled"
    assert sold(shop.postgres) == {}
    assert stock.read([1, 2]) == {1: 10, 2: 10}
    assert_agreement(shop.postgres, shop.redis)


def test_a_confirmation_interrupted_after_the_record_is_finished(
    stock: Stock, shop: Stores
) -> None:
    reservation = confirming(stock)
    stock.ledger.record_sale(reservation.token, reservation.items)
    assert kinds(reconcile(stock, in_doubt_seconds=0)) == [("in doubt", "doubtful")]
    assert stock.reservations.state("doubtful") == "confirmed"
    assert sold(shop.postgres) == {1: 3, 2: 1}
    assert_agreement(shop.postgres, shop.redis)
    stock.confirm(reservation)
    assert sold(shop.postgres) == {1: 3, 2: 1}


def test_a_recent_confirmation_is_left_to_its_client(
    stock: Stock, shop: Stores, clock: Clock
) -> None:
    confirming(stock)
    assert reconcile(stock, in_doubt_seconds=30).findings == []
    assert stock.reservations.state("doubtful") == "confirming"
    assert_agreement(shop.postgres, shop.redis)
    clock.move(30)
    assert kinds(reconcile(stock, in_doubt_seconds=30)) == [("in doubt", "doubtful")]


def test_reconcile_rebuilds_all_counts_after_redis_lost_its_data(
    stock: Stock, shop: Stores
) -> None:
    stock.confirm(stock.reserve({1: 2}))
    stock.reserve({2: 2})
    shop.redis.flushdb()
    report = reconcile(stock)
    assert kinds(report) == [("count", str(product)) for product in range(1, 6)]
    assert stock.read([1, 2]) == {1: 8, 2: 10}
    assert_agreement(shop.postgres, shop.redis)


@pytest.mark.verify
def test_many_products_and_reservations_are_examined(stock: Stock, shop: Stores) -> None:
    ids = range(1, 2501)
    stock.ledger.set_on_hand(dict.fromkeys(ids, 3))
    stock.counts.refresh(ids)
    for product in range(1, 701):
        stock.reserve({product: 1})
    for product in ids[::50]:
        shop.redis.set(f"stock:{product}", 9)
    report = reconcile(stock)
    assert (report.products, report.reservations) == (2500, 700)
    assert kinds(report) == [("count", str(product)) for product in ids[::50]]
    assert_agreement(shop.postgres, shop.redis)


def test_the_ledger_never_falls_below_zero(stock: Stock) -> None:
    assert stock.ledger.record_sale("a", [(1, 10), (2, 5)]) == "sold"
    assert stock.ledger.record_sale("b", [(1, 1)]) == "rejected"
    assert stock.ledger.record_sale("b", [(1, 1)]) == "cancelled"
    assert stock.ledger.record_sale("a", [(1, 10), (2, 5)]) == "sold"
    assert stock.ledger.cancel("a", [(1, 10), (2, 5)]) == "sold"
    assert stock.ledger.balances([1, 2, 5, 77]) == {1: 0, 2: 5, 5: 0}
    assert stock.ledger.outcome("a", [1]) == "sold"
    assert stock.ledger.outcome("b", [1]) == "cancelled"
    assert stock.ledger.outcome("c", [1]) is None
