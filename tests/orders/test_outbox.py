"""The outbox: a row for every order, carried to MongoDB as often as it may be, counted once."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pymongo.errors import BulkWriteError

from helpers.citus.query_plans import explain
from helpers.citus.shards import nodes_of_shards
from helpers.errors import StockError
from helpers.orders import orders as module
from helpers.orders import outbox
from helpers.orders.orders import Orders
from helpers.orders.outbox import Together, bought_together, relay
from helpers.shop.schema import create_shop, drop_shop
from helpers.stores import Stores
from tests.orders.agreement import assert_carried, outbox_rows
from tests.orders.test_orders_failures import fail


def carry_all(shop: Stores, *, most: int = 500) -> int:
    carried = 0
    while rows := relay(shop, most=most):
        carried += rows
    return carried


def test_each_order_has_a_row_until_it_is_carried(orders: Orders, shop: Stores) -> None:
    placed = [orders.place(product, 2, 7) for product in (1, 2, 1)]
    assert outbox_rows(shop) == sorted((one.product_id, one.id) for one in placed)
    assert relay(shop) == 3
    assert relay(shop) == 0
    assert_carried(shop)


def test_an_order_that_is_undone_has_no_row(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = outbox.write_outbox

    def failing(*arguments: Any) -> None:
        write(*arguments)
        raise psycopg.OperationalError

    monkeypatch.setattr(module, "write_outbox", failing)
    with pytest.raises(psycopg.OperationalError):
        orders.place(1, 2, 7)
    assert outbox_rows(shop) == []


def test_an_order_that_is_placed_again_has_one_row(orders: Orders, shop: Stores) -> None:
    order = orders.place(1, 2, 7, key="k")
    orders.place(1, 2, 7, key="k")
    assert outbox_rows(shop) == [(1, order.id)]
    relay(shop)
    orders.place(1, 2, 7, key="k")
    assert outbox_rows(shop) == []
    assert_carried(shop)


def test_the_sales_of_a_product_are_its_orders_and_units(orders: Orders, shop: Stores) -> None:
    for product, units in ((1, 3), (2, 1), (1, 4)):
        orders.place(product, units, 7)
    carry_all(shop)
    found = list(shop.mongo.sales.find({}, {"_id": 0}).sort("product_id"))
    assert found == [
        {"product_id": 1, "orders": 2, "units": 7},
        {"product_id": 2, "orders": 1, "units": 1},
    ]


def test_orders_that_stood_before_there_was_an_outbox_are_counted_with_the_next(
    orders: Orders, shop: Stores
) -> None:
    shop.postgres.execute("INSERT INTO orders VALUES (1, 1, 7, 5), (2, 1, 8, 6), (3, 2, 8, 9)")
    orders.place(1, 2, 7)
    carry_all(shop)
    assert list(shop.mongo.sales.find()) == [{"_id": 1, "product_id": 1, "orders": 3, "units": 13}]


def test_the_oldest_rows_are_carried_first_and_no_more_than_asked_for(
    orders: Orders, shop: Stores
) -> None:
    placed = [orders.place(product, 1, 7) for product in (3, 1, 2, 3, 1)]
    left = [(one.product_id, one.id) for one in placed]
    for carried in (2, 2, 1, 0):
        assert relay(shop, most=2) == carried
        left = left[carried:]
        assert outbox_rows(shop) == sorted(left)
    assert_carried(shop)


@pytest.mark.parametrize("wrong", [0, -1, 10_001, True, 1.0, "1", None])
def test_what_is_no_number_of_rows_is_refused_before_anything_is_sent(wrong: Any) -> None:
    nowhere: Any = object()
    with pytest.raises(StockError, match="rows cannot be carried at once"):
        relay(nowhere, most=wrong)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.verify)])
def test_rows_that_are_carried_late_twice_and_in_any_order_change_nothing(
    orders: Orders, shop: Stores, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        orders.place(chance.choice([1, 2]), 1, chance.randint(1, 3))
    rows = outbox._read(shop.postgres, 100)
    assert len(rows) == 12
    for _ in range(6):
        outbox._write(shop.mongo, chance.sample(rows, chance.randint(1, 5)))
    carry_all(shop, most=5)
    assert_carried(shop)
    for row in chance.sample(rows, 12):
        outbox._write(shop.mongo, [row])
    assert_carried(shop)


def test_a_relay_that_slept_while_others_went_on_sets_nothing_back(
    orders: Orders, shop: Stores
) -> None:
    orders.place(1, 2, 7)
    old = outbox._read(shop.postgres, 100)
    orders.place(1, 3, 8)
    carry_all(shop)
    assert_carried(shop)
    outbox._write(shop.mongo, old)
    outbox._delete(shop.postgres, old)
    assert_carried(shop)


def test_only_the_rows_that_were_read_are_deleted(orders: Orders, shop: Stores) -> None:
    orders.place(1, 1, 7)
    orders.place(2, 1, 7)
    rows = outbox._read(shop.postgres, 100)
    later = [orders.place(product, 1, 7) for product in (1, 2, 3)]
    outbox._delete(shop.postgres, rows)
    assert outbox_rows(shop) == [(one.product_id, one.id) for one in later]


def duplicates(*codes: int, concern: bool = False) -> BulkWriteError:
    return BulkWriteError(
        {
            "writeErrors": [{"code": code, "index": 0} for code in codes],
            "writeConcernErrors": [{"code": 64}] if concern else [],
        }
    )


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (duplicates(11000), True),
        (duplicates(11000, 11000), True),
        (duplicates(11000, 121), False),
        (duplicates(11000, concern=True), False),
        (duplicates(), False),
        (psycopg.OperationalError(), False),
    ],
)
def test_only_what_another_relay_has_just_inserted_is_written_again(
    error: Exception, again: bool
) -> None:
    calls: list[None] = []

    def act() -> None:
        calls.append(None)
        if len(calls) < 3:
            raise error

    if again:
        outbox.repeat(act, outbox.inserted_at_once)
        assert len(calls) == 3
    else:
        with pytest.raises(type(error)):
            outbox.repeat(act, outbox.inserted_at_once)
        assert len(calls) == 1


def test_what_fails_again_and_again_is_an_error_in_the_end() -> None:
    calls: list[None] = []

    def act() -> None:
        calls.append(None)
        raise psycopg.errors.SerializationFailure

    with pytest.raises(psycopg.errors.SerializationFailure):
        outbox.repeat(act, outbox._deleted_at_once)
    assert len(calls) == 20


def test_rows_that_another_transaction_deletes_first_are_no_error(
    orders: Orders, shop: Stores, beside: Callable[[], Stores], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other deletes after this relay's statement has seen the rows, as far as it can tell."""
    orders.place(1, 1, 7)
    other = beside()
    execute = shop.postgres.execute
    rows = outbox._read(shop.postgres, 100)
    calls: list[None] = []

    class Late:
        def execute(self, *arguments: Any) -> Any:
            calls.append(None)
            if len(calls) > 1:
                return execute(*arguments)
            with shop.postgres.transaction():
                assert execute("SELECT count(*) FROM order_outbox").fetchone() == (1,)
                outbox._delete(other.postgres, rows)
                return execute(*arguments)

    late: Any = Late()
    outbox._delete(late, rows)
    assert len(calls) in (1, 2)  # where transactions read what is committed, there is no error
    assert outbox_rows(shop) == []


def test_the_row_stands_on_one_node_with_its_order(orders: Orders, shop: Stores) -> None:
    assert explain(shop.postgres, "SELECT * FROM order_outbox WHERE product_id = 1").task_count == 1
    nodes = nodes_of_shards(shop.postgres)
    for product in range(1, 21):
        homes = shop.postgres.execute(
            "SELECT get_shard_id_for_distribution_column(name::regclass, %s::bigint) "
            "FROM unnest(ARRAY['orders', 'order_outbox', 'order_keys']) AS name",
            [product],
        )
        assert len({nodes[shard] for (shard,) in homes}) == 1


def test_a_shop_that_was_made_without_an_outbox_gets_it(orders: Orders, shop: Stores) -> None:
    shop.postgres.execute("DROP TABLE order_outbox")
    create_shop(shop)
    order = orders.place(1, 1, 7)
    create_shop(shop)
    assert outbox_rows(shop) == [(1, order.id)]


def test_dropping_the_shop_drops_the_outbox_and_what_was_carried(
    orders: Orders, shop: Stores
) -> None:
    orders.place(1, 1, 7)
    carry_all(shop)
    drop_shop(shop)
    assert shop.postgres.execute("SELECT to_regclass('order_outbox')").fetchone() == (None,)
    assert not {"sales", "purchases"} & {*shop.mongo.list_collection_names()}


def test_products_are_bought_together_by_the_customers_of_both(
    orders: Orders, shop: Stores
) -> None:
    baskets = {7: [1, 2, 3, 1, 2], 8: [1, 3], 9: [2, 3], 10: [1, 4], 11: [5]}
    for customer, products in baskets.items():
        for product in products:
            orders.place(product, 1, customer)
    assert bought_together(shop.mongo, 1) == []
    carry_all(shop)
    assert bought_together(shop.mongo, 1) == [Together(3, 2), Together(2, 1), Together(4, 1)]
    assert bought_together(shop.mongo, 1, most=1) == [Together(3, 2)]
    assert bought_together(shop.mongo, 5) == []
    assert bought_together(shop.mongo, 77) == []


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.verify)])
def test_bought_together_is_what_counting_by_hand_gives(
    orders: Orders, shop: Stores, seed: int
) -> None:
    chance = random.Random(seed)
    bought: dict[int, set[int]] = defaultdict(set)
    for _ in range(30):
        product, customer = chance.randint(1, 5), chance.randint(1, 6)
        if orders.stock.read([product])[product]:
            orders.place(product, 1, customer)
            bought[customer].add(product)
    carry_all(shop, most=7)
    for product in range(1, 6):
        counts = Counter(
            other
            for products in bought.values()
            if product in products
            for other in products - {product}
        )
        expected = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        assert bought_together(shop.mongo, product) == [Together(*one) for one in expected]


@pytest.mark.parametrize("wrong", [0, 1001, True, "1"])
def test_what_cannot_be_asked_for_together_is_refused(wrong: Any) -> None:
    nowhere: Any = object()
    with pytest.raises(StockError, match="products cannot be asked for"):
        bought_together(nowhere, 1, most=wrong)
    with pytest.raises(StockError, match="is not a valid product id"):
        bought_together(nowhere, -1)


def test_an_order_is_acknowledged_though_mongodb_cannot_be_reached(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = orders.place(1, 1, 7)
    with monkeypatch.context() as patch:
        fail(patch, outbox, "_write", duplicates(91))
        with pytest.raises(BulkWriteError):
            relay(shop)
    assert outbox_rows(shop) == [(1, order.id)]
    assert relay(shop) == 1
    assert_carried(shop)
