"""The outbox: each order has a row, which is relayed at least once and counted once."""

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
from tests.orders.agreement import assert_relayed, outbox_rows
from tests.orders.test_orders_failures import fail


def relay_all(shop: Stores, *, most: int = 500) -> int:
    relayed = 0
    while rows := relay(shop, most=most):
        relayed += rows
    return relayed


def test_each_order_has_a_row_until_it_is_relayed(orders: Orders, shop: Stores) -> None:
    placed = [orders.place(product, 2, 7) for product in (1, 2, 1)]
    assert outbox_rows(shop) == sorted((order.product_id, order.id) for order in placed)
    assert relay(shop) == 3
    assert relay(shop) == 0
    assert_relayed(shop)


def test_a_rolled_back_order_has_no_row(
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


def test_a_retried_order_has_one_row(orders: Orders, shop: Stores) -> None:
    order = orders.place(1, 2, 7, key="k")
    orders.place(1, 2, 7, key="k")
    assert outbox_rows(shop) == [(1, order.id)]
    relay(shop)
    orders.place(1, 2, 7, key="k")
    assert outbox_rows(shop) == []
    assert_relayed(shop)


def test_sales_have_the_orders_and_units_of_each_product(orders: Orders, shop: Stores) -> None:
    for product, units in ((1, 3), (2, 1), (1, 4)):
        orders.place(product, units, 7)
    relay_all(shop)
    found = list(shop.mongo.sales.find({}, {"_id": 0}).sort("product_id"))
    assert found == [
        {"product_id": 1, "orders": 2, "units": 7},
        {"product_id": 2, "orders": 1, "units": 1},
    ]


def test_orders_older_than_the_outbox_are_counted_with_the_next_order(
    orders: Orders, shop: Stores
) -> None:
    shop.postgres.execute("INSERT INTO orders VALUES (1, 1, 7, 5), (2, 1, 8, 6), (3, 2, 8, 9)")
    orders.place(1, 2, 7)
    relay_all(shop)
    assert list(shop.mongo.sales.find()) == [{"_id": 1, "product_id": 1, "orders": 3, "units": 13}]


def test_the_oldest_rows_are_relayed_first_up_to_the_given_number(
    orders: Orders, shop: Stores
) -> None:
    placed = [orders.place(product, 1, 7) for product in (3, 1, 2, 3, 1)]
    left = [(order.product_id, order.id) for order in placed]
    for relayed in (2, 2, 1, 0):
        assert relay(shop, most=2) == relayed
        left = left[relayed:]
        assert outbox_rows(shop) == sorted(left)
    assert_relayed(shop)


@pytest.mark.parametrize("wrong", [0, -1, 10_001, True, 1.0, "1", None])
def test_an_invalid_number_of_rows_raises_stock_error_before_anything_is_sent(wrong: Any) -> None:
    nowhere: Any = object()
    with pytest.raises(StockError, match="rows cannot be relayed at once"):
        relay(nowhere, most=wrong)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.verify)])
def test_relaying_rows_late_twice_or_out_of_order_changes_nothing(
    orders: Orders, shop: Stores, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        orders.place(chance.choice([1, 2]), 1, chance.randint(1, 3))
    rows = outbox._read(shop.postgres, 100)
    assert len(rows) == 12
    for _ in range(6):
        outbox._write(shop.mongo, chance.sample(rows, chance.randint(1, 5)))
    relay_all(shop, most=5)
    assert_relayed(shop)
    for row in chance.sample(rows, 12):
        outbox._write(shop.mongo, [row])
    assert_relayed(shop)


def test_a_slow_relay_never_decreases_the_totals(orders: Orders, shop: Stores) -> None:
    orders.place(1, 2, 7)
    old = outbox._read(shop.postgres, 100)
    orders.place(1, 3, 8)
    relay_all(shop)
    assert_relayed(shop)
    outbox._write(shop.mongo, old)
    outbox._delete(shop.postgres, old)
    assert_relayed(shop)


def test_only_the_rows_that_were_read_are_deleted(orders: Orders, shop: Stores) -> None:
    orders.place(1, 1, 7)
    orders.place(2, 1, 7)
    rows = outbox._read(shop.postgres, 100)
    later = [orders.place(product, 1, 7) for product in (1, 2, 3)]
    outbox._delete(shop.postgres, rows)
    assert outbox_rows(shop) == [(order.product_id, order.id) for order in later]


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
def test_only_a_concurrent_insert_is_retried(error: Exception, again: bool) -> None:
    calls: list[None] = []

    def act() -> None:
        calls.append(None)
        if len(calls) < 3:
            raise error

    if again:
        outbox.retry(act, outbox.is_concurrent_insert)
        assert len(calls) == 3
    else:
        with pytest.raises(type(error)):
            outbox.retry(act, outbox.is_concurrent_insert)
        assert len(calls) == 1


def test_retries_end_after_20_attempts() -> None:
    calls: list[None] = []

    def act() -> None:
        calls.append(None)
        raise psycopg.errors.SerializationFailure

    with pytest.raises(psycopg.errors.SerializationFailure):
        outbox.retry(act, outbox.is_concurrent_delete)
    assert len(calls) == 20


def test_rows_deleted_by_a_concurrent_relay_are_no_error(
    orders: Orders,
    shop: Stores,
    connect_again: Callable[[], Stores],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other relay deletes the rows after this relay's transaction took its snapshot."""
    orders.place(1, 1, 7)
    other = connect_again()
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
    assert len(calls) in (1, 2)  # with READ COMMITTED there is no error
    assert outbox_rows(shop) == []


def test_the_row_is_on_the_node_of_its_order(orders: Orders, shop: Stores) -> None:
    assert explain(shop.postgres, "SELECT * FROM order_outbox WHERE product_id = 1").task_count == 1
    nodes = nodes_of_shards(shop.postgres)
    for product in range(1, 21):
        homes = shop.postgres.execute(
            "SELECT get_shard_id_for_distribution_column(name::regclass, %s::bigint) "
            "FROM unnest(ARRAY['orders', 'order_outbox', 'order_keys']) AS name",
            [product],
        )
        assert len({nodes[shard] for (shard,) in homes}) == 1


def test_create_shop_adds_a_missing_outbox(orders: Orders, shop: Stores) -> None:
    shop.postgres.execute("DROP TABLE order_outbox")
    create_shop(shop)
    order = orders.place(1, 1, 7)
    create_shop(shop)
    assert outbox_rows(shop) == [(1, order.id)]


def test_dropping_the_shop_drops_the_outbox_and_the_sales(orders: Orders, shop: Stores) -> None:
    orders.place(1, 1, 7)
    relay_all(shop)
    drop_shop(shop)
    assert shop.postgres.execute("SELECT to_regclass('order_outbox')").fetchone() == (None,)
    assert not {"sales", "purchases"} & {*shop.mongo.list_collection_names()}


def test_bought_together_counts_customers_of_both_products(orders: Orders, shop: Stores) -> None:
    baskets = {7: [1, 2, 3, 1, 2], 8: [1, 3], 9: [2, 3], 10: [1, 4], 11: [5]}
    for customer, products in baskets.items():
        for product in products:
            orders.place(product, 1, customer)
    assert bought_together(shop.mongo, 1) == []
    relay_all(shop)
    assert bought_together(shop.mongo, 1) == [Together(3, 2), Together(2, 1), Together(4, 1)]
    assert bought_together(shop.mongo, 1, most=1) == [Together(3, 2)]
    assert bought_together(shop.mongo, 5) == []
    assert bought_together(shop.mongo, 77) == []


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.verify)])
def test_bought_together_returns_the_same_counts_as_a_loop(
    orders: Orders, shop: Stores, seed: int
) -> None:
    chance = random.Random(seed)
    bought: dict[int, set[int]] = defaultdict(set)
    for _ in range(30):
        product, customer = chance.randint(1, 5), chance.randint(1, 6)
        if orders.stock.read([product])[product]:
            orders.place(product, 1, customer)
            bought[customer].add(product)
    relay_all(shop, most=7)
    for product in range(1, 6):
        counts = Counter(
            other
            for products in bought.values()
            if product in products
            for other in products - {product}
        )
        expected = sorted(counts.items(), key=lambda count: (-count[1], count[0]))
        assert bought_together(shop.mongo, product) == [Together(*count) for count in expected]


@pytest.mark.parametrize("wrong", [0, 1001, True, "1"])
def test_bought_together_raises_stock_error_for_invalid_arguments(wrong: Any) -> None:
    nowhere: Any = object()
    with pytest.raises(StockError, match="products cannot be asked for"):
        bought_together(nowhere, 1, most=wrong)
    with pytest.raises(StockError, match="is not a valid product id"):
        bought_together(nowhere, -1)


def test_an_order_is_placed_although_mongodb_is_unavailable(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = orders.place(1, 1, 7)
    with monkeypatch.context() as patch:
        fail(patch, outbox, "_write", duplicates(91))
        with pytest.raises(BulkWriteError):
            relay(shop)
    assert outbox_rows(shop) == [(1, order.id)]
    assert relay(shop) == 1
    assert_relayed(shop)
