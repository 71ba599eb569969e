"""``also_write``: its rows exist if and only if the sale does, and are written once."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from helpers.errors import ReservationError
from helpers.stock import Stock, reconcile
from helpers.stock.ledger import SaleWriter
from helpers.stores import Stores
from tests.stock.agreement import assert_agreement, sold


class FailedWriteError(Exception):
    """Any error in a transaction."""


@pytest.fixture(scope="module")
def table(shared: Stores) -> Iterator[None]:
    """A table for rows that are written with sales."""
    shared.postgres.execute("DROP TABLE IF EXISTS receipts")
    shared.postgres.execute("CREATE TABLE receipts (token text)")
    yield
    shared.postgres.execute("DROP TABLE receipts")


@pytest.fixture
def stock(stock: Stock, table: None) -> Stock:
    """The stock with all counts in Redis, and an empty table of receipts."""
    with stock.ledger.connections.connection() as connection:
        connection.execute("DELETE FROM receipts")
    stock.read(range(1, 6))
    return stock


def receipt(token: str, *, fail: bool = False) -> SaleWriter:
    def write(connection: psycopg.Connection) -> None:
        connection.execute("INSERT INTO receipts VALUES (%s)", [token])
        if fail:
            raise FailedWriteError

    return write


def receipts(shop: Stores) -> list[str]:
    return [token for (token,) in shop.postgres.execute("SELECT token FROM receipts")]


def test_also_write_is_called_once_with_the_sale(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3, 2: 1}, token="a")
    for which in (reservation, reservation, "a"):
        stock.confirm(which, also_write=receipt("a"))
    assert receipts(shop) == ["a"]
    assert sold(shop.postgres) == {1: 3, 2: 1}


def test_only_the_call_that_writes_the_sale_calls_also_write(stock: Stock, shop: Stores) -> None:
    assert stock.ledger.record_sale("a", [(1, 3)]) == "sold"
    assert stock.ledger.record_sale("a", [(1, 3)], also_write=receipt("late")) == "sold"
    assert stock.ledger.record_sale("b", [(1, 3)], also_write=receipt("b")) == "sold"
    assert stock.ledger.record_sale("b", [(1, 3)], also_write=receipt("again")) == "sold"
    assert receipts(shop) == ["b"]


def test_also_write_is_not_called_if_the_ledger_rejects_the_sale(
    stock: Stock, shop: Stores
) -> None:
    shop.redis.set("stock:1", 1000)
    reservation = stock.reserve({1: 11})
    for _ in range(2):
        with pytest.raises(ReservationError):
            stock.confirm(reservation, also_write=receipt("a"))
    assert stock.ledger.record_sale("b", [(1, 11)], also_write=receipt("b")) == "rejected"
    assert stock.ledger.record_sale("b", [(1, 1)], also_write=receipt("b")) == "cancelled"
    assert receipts(shop) == []
    assert sold(shop.postgres) == {}


def test_also_write_is_not_called_if_the_reservation_has_ended(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3})
    stock.release(reservation)
    with pytest.raises(ReservationError, match="is released"):
        stock.confirm(reservation, also_write=receipt("a"))
    assert receipts(shop) == []


def test_if_also_write_fails_the_sale_is_rolled_back_and_can_be_repeated(
    stock: Stock, shop: Stores
) -> None:
    reservation = stock.reserve({1: 3})
    with pytest.raises(FailedWriteError):
        stock.confirm(reservation, also_write=receipt("a", fail=True))
    assert receipts(shop) == []
    assert sold(shop.postgres) == {}
    assert stock.reservations.state(reservation.token) == "confirming"
    assert stock.read([1]) == {1: 7}
    assert_agreement(shop.postgres, shop.redis)
    stock.confirm(reservation, also_write=receipt("b"))
    assert receipts(shop) == ["b"]
    assert sold(shop.postgres) == {1: 3}
    assert_agreement(shop.postgres, shop.redis)


def test_if_also_write_fails_reconcile_returns_the_units(stock: Stock, shop: Stores) -> None:
    reservation = stock.reserve({1: 3})
    with pytest.raises(FailedWriteError):
        stock.confirm(reservation, also_write=receipt("a", fail=True))
    (finding,) = reconcile(stock, in_doubt_seconds=0).findings
    assert finding.kind == "in doubt"
    assert stock.read([1]) == {1: 10}
    with pytest.raises(ReservationError, match="is released"):
        stock.confirm(reservation, also_write=receipt("b"))
    assert receipts(shop) == []
    assert_agreement(shop.postgres, shop.redis)
