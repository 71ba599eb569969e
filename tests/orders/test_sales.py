"""Rebuilding the sales: afterwards, they match the orders, whatever was wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from helpers.orders import outbox, sales
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.orders.sales import rebuild_sales
from helpers.stores import Stores
from tests.orders.agreement import assert_consistent, assert_relayed


@pytest.fixture
def orders(orders: Orders, shop: Stores) -> Orders:
    """Orders of products 1 and 2, relayed."""
    orders.stock.read(range(1, 6))
    for product, customer in ((1, 7), (1, 8), (1, 7), (2, 7)):
        orders.place(product, 1, customer)
    relay(shop)
    return orders


def test_rebuild_sales_finds_nothing_if_everything_agrees(orders: Orders, shop: Stores) -> None:
    report = rebuild_sales(shop)
    assert (report.products, report.findings) == (2, [])
    assert str(report) == "The sales of 2 products examined: they agree with the orders."
    assert_relayed(shop)


Spoil = Callable[[Stores], object]

SPOILS: dict[str, tuple[Spoil, list[tuple[str, str]]]] = {
    "too many orders": (
        lambda shop: shop.mongo.sales.update_one({"_id": 1}, {"$set": {"orders": 9}}),
        [("sales", "1")],
    ),
    "too few units": (
        lambda shop: shop.mongo.sales.update_one({"_id": 1}, {"$set": {"units": 1}}),
        [("sales", "1")],
    ),
    "no sales": (lambda shop: shop.mongo.sales.delete_one({"_id": 2}), [("sales", "2")]),
    "sales of a product without orders": (
        lambda shop: shop.mongo.sales.insert_one(
            {"_id": 3, "product_id": 3, "orders": 1, "units": 1}
        ),
        [("sales", "3")],
    ),
    "sales that say another product": (
        lambda shop: shop.mongo.sales.update_one({"_id": 1}, {"$set": {"product_id": 2}}),
        [("sales", "1")],
    ),
    "sales of no product": (
        lambda shop: shop.mongo.sales.insert_one({"_id": "x", "orders": 1}),
        [("sales", "x")],
    ),
    "sales that are no number": (
        lambda shop: shop.mongo.sales.update_one({"_id": 1}, {"$set": {"orders": "many"}}),
        [("sales", "1")],
    ),
    "no purchase": (
        lambda shop: shop.mongo.purchases.delete_one({"_id": "8:1"}),
        [("purchase", "8:1")],
    ),
    "a purchase that was none": (
        lambda shop: shop.mongo.purchases.insert_one(
            {"_id": "9:2", "customer_id": 9, "product_id": 2}
        ),
        [("purchase", "9:2")],
    ),
    "a purchase under another's name": (
        lambda shop: shop.mongo.purchases.update_one({"_id": "8:1"}, {"$set": {"product_id": 2}}),
        [("purchase", "8:1"), ("purchase", "8:1")],
    ),
    "a purchase of nothing": (
        lambda shop: shop.mongo.purchases.insert_one({"_id": "x"}),
        [("purchase", "x")],
    ),
    "everything lost": (
        lambda shop: outbox.drop_sales(shop.mongo),
        [
            *(("sales", "1"), ("purchase", "7:1"), ("purchase", "8:1")),
            *(("sales", "2"), ("purchase", "7:2")),
        ],
    ),
}


# In `make test`: one of each kind of difference, and all of them together.
_FEW = ("too few units", "no sales", "a purchase under another's name", "everything lost")


@pytest.mark.parametrize(
    "spoil",
    [pytest.param(name, marks=() if name in _FEW else pytest.mark.verify) for name in SPOILS],
)
def test_rebuild_sales_repairs_and_reports_every_difference(
    orders: Orders, shop: Stores, spoil: str
) -> None:
    act, expected = SPOILS[spoil]
    act(shop)
    report = rebuild_sales(shop)
    assert [(finding.kind, finding.subject) for finding in report.findings] == expected
    assert f"{len(expected)} differences repaired" in str(report)
    assert_relayed(shop)
    assert rebuild_sales(shop).findings == []
    assert_consistent(orders, shop)


def test_the_finding_has_the_totals_before_and_after(orders: Orders, shop: Stores) -> None:
    shop.mongo.sales.update_one({"_id": 1}, {"$inc": {"orders": 1, "units": 2}})
    (finding,) = rebuild_sales(shop).findings
    assert str(finding) == ("sales: product 1 had 4 orders of 5 units, now 3 orders of 3 units")


def test_orders_in_the_outbox_are_not_a_finding(orders: Orders, shop: Stores) -> None:
    placed = [orders.place(product, 2, 9) for product in (1, 3)]
    assert rebuild_sales(shop).findings == []
    assert shop.mongo.sales.find_one({"_id": 3}) == (
        {"_id": 3, "product_id": 3, "orders": 1, "units": 2}
    )
    assert relay(shop) == 2
    assert_relayed(shop)
    assert_consistent(orders, shop, placed)


def test_orders_older_than_the_outbox_are_counted(orders: Orders, shop: Stores) -> None:
    shop.postgres.execute("INSERT INTO orders VALUES (1, 4, 7, 5), (2, 4, 8, 6)")
    found = [(finding.kind, finding.subject) for finding in rebuild_sales(shop).findings]
    assert found == [("sales", "4"), ("purchase", "7:4"), ("purchase", "8:4")]
    assert_relayed(shop)


def test_an_empty_shop_has_no_findings(shop: Stores) -> None:
    assert str(rebuild_sales(shop)).startswith("The sales of 0 products examined")
    assert list(shop.mongo.sales.find()) == []


@pytest.mark.parametrize("name", ["sales", pytest.param("purchases", marks=pytest.mark.verify)])
def test_orders_relayed_after_the_first_read_are_not_removed(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Orders of products 1 and 3 by a new customer, and one of product 2 that is not relayed."""
    look = sales._read

    def looking(database: Any, read: str, is_valid: Any) -> Any:
        result = look(database, read, is_valid)
        if read == name:
            for product in (1, 3):
                orders.place(product, 1, 9)
            relay(shop)
            orders.place(2, 1, 9)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(sales, "_read", looking)
        assert rebuild_sales(shop).findings == []
    assert relay(shop) == 1
    assert_relayed(shop)


def test_a_relay_that_was_delayed_since_before_changes_nothing(
    orders: Orders, shop: Stores
) -> None:
    orders.place(1, 1, 9)
    rows = outbox._read(shop.postgres, 100)
    shop.mongo.sales.update_one({"_id": 1}, {"$set": {"orders": 99}})
    orders.place(1, 1, 10)
    rebuild_sales(shop)
    outbox._write(shop.mongo, rows)
    outbox._delete(shop.postgres, rows)
    relay(shop)
    assert_relayed(shop)


def test_an_order_placed_during_a_repair_waits_and_is_counted(
    orders: Orders,
    shop: Stores,
    connect_again: Callable[[], Stores],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is placed after the orders were counted and before MongoDB is written."""
    shop.mongo.sales.update_one({"_id": 1}, {"$set": {"orders": 99}})
    shop.mongo.purchases.insert_one({"_id": "9:1", "customer_id": 9, "product_id": 1})
    other, relaying = Orders.of(connect_again()), connect_again()
    threads: list[threading.Thread] = []
    write = outbox.bulk_write

    def order_and_relay() -> None:
        other.place(1, 1, 9)
        relay(relaying)

    def writing(*arguments: Any) -> None:
        if not threads:
            threads.append(threading.Thread(target=order_and_relay))
            threads[0].start()
            threads[0].join(0.2)  # long enough to finish if it did not wait
            assert threads[0].is_alive()
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sales, "bulk_write", writing)
        rebuild_sales(shop)
    threads[0].join()
    assert shop.mongo.sales.find_one({"_id": 1}) == (
        {"_id": 1, "product_id": 1, "orders": 4, "units": 4}
    )
    assert_relayed(shop)


class Observer:
    """Reads the totals repeatedly, and asserts that they never decrease."""

    def __init__(self) -> None:
        self.sales: dict[int, tuple[int, int]] = {}
        self.pairs: set[str] = set()

    def check(self, stores: Stores) -> None:
        for document in stores.mongo.sales.find():
            orders, units = self.sales.get(document["_id"], (0, 0))
            assert document["orders"] >= orders
            assert document["units"] >= units
            self.sales[document["_id"]] = (document["orders"], document["units"])
        there = {document["_id"] for document in stores.mongo.purchases.find()}
        assert there >= self.pairs
        self.pairs = there


def repeat(act: Callable[[Stores], object], stores: Stores, over: threading.Event) -> None:
    while not over.is_set():
        act(stores)


def find_nothing(stores: Stores) -> None:
    assert rebuild_sales(stores).findings == []


def relay_some(stores: Stores) -> None:
    relay(stores, most=3)


@pytest.mark.verify
def test_totals_never_decrease_during_orders_and_relays(
    orders: Orders, shop: Stores, connect_again: Callable[[], Stores]
) -> None:
    """Nothing is damaged here, so totals only grow and no document disappears."""
    for product in range(1, 6):
        orders.stock.set_on_hand(product, 1000)
    observer, over = Observer(), threading.Event()
    acts = [relay_some, find_nothing, find_nothing, observer.check]
    with ThreadPoolExecutor(len(acts)) as pool:
        calls = [pool.submit(repeat, act, connect_again(), over) for act in acts]
        try:
            for n in range(80):
                orders.place(n % 5 + 1, 1 + n % 3, n % 11 + 1, key=f"k{n}")
        finally:
            over.set()
        for call in calls:
            call.result()
    assert observer.sales
    while relay(shop):
        pass
    observer.check(shop)
    assert sum(count for count, _ in observer.sales.values()) == 84
    assert_relayed(shop)
    assert_consistent(orders, shop)


@pytest.mark.verify
def test_repeated_damage_during_relays_is_repaired_in_the_end(
    orders: Orders, shop: Stores, connect_again: Callable[[], Stores]
) -> None:
    repairing, over = connect_again(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        relaying = pool.submit(repeat, relay_some, connect_again(), over)
        try:
            for number, (spoil, _) in enumerate(SPOILS.values()):
                spoil(shop)
                orders.place(number % 2 + 1, 1, number % 3 + 6)
                rebuild_sales(repairing)
        finally:
            over.set()
        relaying.result()
    while relay(shop):
        pass
    rebuild_sales(shop)
    assert_relayed(shop)
    assert_consistent(orders, shop)
