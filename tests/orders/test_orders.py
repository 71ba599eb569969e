"""Placing and finding orders: an order is recorded if and only if its units are sold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from helpers.catalog.model import Order
from helpers.citus.query_plans import explain
from helpers.citus.shards import nodes_of_shards
from helpers.errors import ReservationError, SoldOutError, StockError, UnknownProductError
from helpers.orders.order_rows import _FIND, FIRST_ORDER
from helpers.orders.orders import Orders
from helpers.shop.schema import SHARDS, create_shop, drop_shop
from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.validation import LARGEST_ID, MOST_UNITS
from tests.orders.agreement import assert_all_agree, ordered
from tests.stock.agreement import reservations, sold


def test_an_order_reduces_the_ledger_and_the_count(orders: Orders, shop: Stores) -> None:
    order = orders.place(1, 3, 7)
    assert (order.product_id, order.quantity, order.customer_id) == (1, 3, 7)
    assert orders.stock.read([1, 2]) == {1: 7, 2: 10}
    assert sold(shop.postgres) == {1: 3}
    assert {state for state, _ in reservations(shop.redis).values()} == {"confirmed"}
    orders.stock.read(range(1, 6))
    assert_all_agree(shop)


def test_the_order_date_is_the_databases_time_in_utc(orders: Orders, shop: Stores) -> None:
    shop.postgres.execute("SET timezone = 'Asia/Kathmandu'")
    try:
        order = orders.place(1, 1, 7)
        row = shop.postgres.execute("SELECT now()").fetchone()
    finally:
        shop.postgres.execute("RESET timezone")
    assert row is not None
    moment = datetime.fromisoformat(order.order_date)
    assert moment.utcoffset() == timedelta(0)
    assert timedelta(0) <= row[0].astimezone(UTC) - moment < timedelta(hours=1)


def test_a_placed_order_is_found(orders: Orders) -> None:
    first, second = orders.place(1, 3, 7), orders.place(2, 1, 8)
    assert orders.find(first.id) == first
    assert orders.find(second.id) == second
    assert orders.find(second.id + 1) is None


def test_a_generated_order_is_found(orders: Orders, shop: Stores) -> None:
    seed(shop, 5)
    assert orders.find(1) == Order(1, *_row(shop, 1))


def _row(shop: Stores, order_id: int) -> tuple[int, int, int, str]:
    row = shop.postgres.execute(
        "SELECT product_id, customer_id, quantity, order_date FROM orders WHERE id = %s", [order_id]
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2], row[3].astimezone(UTC).isoformat()


def test_find_queries_all_shards_but_one_if_the_product_is_given(
    orders: Orders, shop: Stores
) -> None:
    order = orders.place(1, 3, 7)
    by_id = explain(shop.postgres, _FIND, [order.id])
    assert by_id.task_count == len(by_id.shards) == SHARDS
    assert explain(shop.postgres, f"{_FIND} AND product_id = 1", [order.id]).task_count == 1


def test_an_order_is_on_the_node_of_its_product_and_its_sale(shop: Stores) -> None:
    nodes = nodes_of_shards(shop.postgres)
    for product in range(1, 21):
        homes = shop.postgres.execute(
            "SELECT get_shard_id_for_distribution_column(name::regclass, %s::bigint) "
            "FROM unnest(ARRAY['orders', 'stock_movements', 'products']) AS name",
            [product],
        )
        assert len({nodes[shard] for (shard,) in homes}) == 1


def test_ids_come_from_a_sequence_far_above_generated_ids(orders: Orders) -> None:
    ids = [orders.place(product, 1, 7).id for product in (1, 2, 1)]
    assert ids == [FIRST_ORDER, FIRST_ORDER + 1, FIRST_ORDER + 2]
    assert FIRST_ORDER == 1_000_000_000_001


def test_ids_are_exact_in_javascript(orders: Orders, shop: Stores) -> None:
    row = shop.postgres.execute(
        "SELECT max_value FROM pg_sequences WHERE sequencename = 'order_ids'"
    ).fetchone()
    assert row == (2**53 - 1,)


def test_create_shop_adds_a_missing_sequence(orders: Orders, shop: Stores) -> None:
    shop.postgres.execute("DROP SEQUENCE order_ids")
    create_shop(shop)
    assert orders.place(1, 1, 7).id == FIRST_ORDER


def test_creating_the_shop_again_keeps_the_sequence(orders: Orders, shop: Stores) -> None:
    orders.place(1, 1, 7)
    create_shop(shop)
    assert orders.place(1, 1, 7).id == FIRST_ORDER + 1


def test_dropping_the_shop_drops_the_sequence(shop: Stores) -> None:
    drop_shop(shop)
    assert shop.postgres.execute("SELECT to_regclass('order_ids')").fetchone() == (None,)


def test_seeding_again_keeps_placed_orders(orders: Orders, shop: Stores) -> None:
    seed(shop, 5)
    order = orders.place(2, 1, 7)
    assert seed(shop, 5).orders == 0
    assert orders.find(order.id) == order
    assert orders.place(2, 1, 7).id == order.id + 1


def test_ordering_more_than_available_raises_sold_out_error(orders: Orders, shop: Stores) -> None:
    orders.place(1, 8, 7)
    with pytest.raises(SoldOutError) as caught:
        orders.place(1, 3, 7)
    assert caught.value.available == {1: 2}
    assert ordered(shop) == {1: 8}
    assert orders.stock.read([1]) == {1: 2}


@pytest.mark.parametrize(("product", "who"), [(77, "The shop"), (6, "The ledger")])
def test_ordering_an_unknown_product_raises(
    orders: Orders, shop: Stores, product: int, who: str
) -> None:
    with pytest.raises(UnknownProductError, match=f"{who} does not know product {product}") as seen:
        orders.place(product, 1, 7)
    assert seen.value.product_ids == [product]
    assert ordered(shop) == {}
    assert reservations(shop.redis) == {}


def test_an_order_that_the_ledger_rejects_is_not_recorded(orders: Orders, shop: Stores) -> None:
    orders.stock.read(range(1, 6))
    shop.redis.set("stock:1", 1000)
    with pytest.raises(ReservationError, match="the ledger has too few units"):
        orders.place(1, 11, 7)
    assert ordered(shop) == {}
    assert orders.stock.read([1]) == {1: 10}
    assert_all_agree(shop)


WRONG = [0, -1, True, 1.0, "1", None, LARGEST_ID + 1]


@pytest.mark.parametrize("wrong", WRONG)
def test_invalid_arguments_raise_stock_error_before_anything_is_sent(
    unusable_orders: Orders, wrong: Any
) -> None:
    with pytest.raises(StockError, match="is not a valid product id"):
        unusable_orders.place(wrong, 1, 7)
    with pytest.raises(StockError, match="is not a valid number of units"):
        unusable_orders.place(1, wrong, 7)
    with pytest.raises(StockError, match="is not a valid customer id"):
        unusable_orders.place(1, 1, wrong)
    with pytest.raises(StockError, match="is not a valid order id"):
        unusable_orders.find(wrong)


@pytest.mark.parametrize(
    "token",
    [
        *("", "order-", "order-0", "order-5", f"order-{FIRST_ORDER - 1}", f"order-{10**30}"),
        *(f"order-0{FIRST_ORDER}", f"order-{FIRST_ORDER}\n", f"Order-{FIRST_ORDER}"),
        *(FIRST_ORDER, b"order-1000000000001", f"order-{LARGEST_ID + 1}"),
    ],
)
def test_an_invalid_order_token_raises_stock_error_before_anything_is_sent(
    unusable_orders: Orders, token: Any
) -> None:
    with pytest.raises(StockError, match=r"is not the token of an order|is not a valid order id"):
        unusable_orders.place(1, 1, 7, token=token)


def test_the_largest_customer_id_can_order(orders: Orders) -> None:
    order = orders.place(1, 1, LARGEST_ID)
    assert orders.find(order.id) == order
    assert order.customer_id == LARGEST_ID


def test_the_most_units_can_be_ordered(orders: Orders) -> None:
    orders.stock.set_on_hand(1, MOST_UNITS)
    order = orders.place(1, MOST_UNITS, 7)
    assert orders.find(order.id) == order


def test_the_same_token_places_one_order(orders: Orders, shop: Stores) -> None:
    token = orders.new_token()
    order = orders.place(1, 3, 7, token=token)
    assert orders.place(1, 3, 7, token=token) == order
    assert orders.stock.read([1]) == {1: 7}
    assert orders.place(1, 3, 7) != order
    orders.stock.read(range(1, 6))
    assert_all_agree(shop)


def test_a_token_places_one_order_after_redis_lost_its_data(orders: Orders, shop: Stores) -> None:
    token = orders.new_token()
    order = orders.place(1, 3, 7, token=token)
    shop.redis.flushdb()
    assert orders.place(1, 3, 7, token=token) == order
    assert orders.stock.read(range(1, 6))[1] == 7
    assert_all_agree(shop)


@pytest.mark.parametrize("other", [(1, 2, 7), (2, 3, 7), (1, 3, 8)])
def test_a_token_cannot_be_reused_for_another_order(
    orders: Orders, shop: Stores, other: tuple[int, int, int]
) -> None:
    token = orders.new_token()
    orders.place(1, 3, 7, token=token)
    with pytest.raises(ReservationError, match="is for another order"):
        orders.place(*other, token=token)
    assert ordered(shop) == {1: 3}


def test_a_token_of_a_sale_without_an_order_places_no_order(orders: Orders, shop: Stores) -> None:
    token = orders.new_token()
    orders.stock.confirm(orders.stock.reserve({1: 3}, token=token))
    with pytest.raises(ReservationError, match="sold, but not as an order"):
        orders.place(1, 3, 7, token=token)
    assert ordered(shop) == {}
