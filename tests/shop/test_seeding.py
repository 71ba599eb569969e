"""Seeding: it writes the difference between generated and stored products, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from operator import itemgetter
from typing import Any

import psycopg
import pytest
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError

from helpers.catalog.generator import products
from helpers.catalog.model import Product
from helpers.joins import batched
from helpers.metadata.collection_schema import validator
from helpers.orders.orders import Orders
from helpers.orders.outbox import PURCHASES, SALES, relay
from helpers.orders.sales import add_sales, rebuild_sales
from helpers.shop import seeding
from helpers.shop.schema import count_products, create_shop, drop_shop
from helpers.shop.seeding import Changes, load, seed
from helpers.stock import Stock, reconcile
from helpers.stores import Stores
from tests.contents import collections_of, keys_of


def test_a_seed_fills_all_three_stores(stores: Stores) -> None:
    assert seed(stores, 50) == Changes(products=50, metadata=50, stock=50, orders=150)
    assert count_products(stores) == 50
    assert stores.mongo.productmetas.count_documents({}) == 50
    assert len(list(stores.redis.scan_iter("stock:*"))) == 50
    row = stores.postgres.execute("SELECT count(*), count(DISTINCT id) FROM orders").fetchone()
    assert row == (150, 150)


def test_a_second_seed_writes_nothing(shop: Stores) -> None:
    seed(shop, 30)
    before = batched(shop)
    assert seed(shop, 30) == Changes()
    assert batched(shop) == before


def test_a_larger_seed_adds_what_is_missing(shop: Stores) -> None:
    seed(shop, 10)
    assert seed(shop, 25).products == 15
    assert [p["id"] for p in batched(shop)] == list(range(1, 26))


def test_a_seed_repairs_what_was_changed_or_lost(shop: Stores) -> None:
    seed(shop, 10)
    before = batched(shop)
    shop.postgres.execute("UPDATE products SET price = 1 WHERE id = 1")
    shop.postgres.execute("DELETE FROM products WHERE id = 2")
    shop.mongo.productmetas.delete_one({"product_id": 3})
    shop.mongo.productmetas.update_one({"product_id": 4}, {"$set": {"specifications": {}}})
    shop.redis.set("stock:5", "999")
    shop.redis.delete("stock:6")
    assert seed(shop, 10) == Changes(products=2, metadata=2, stock=2, orders=0)
    assert batched(shop) == before


def test_seeding_distinguishes_one_from_true(shop: Stores) -> None:
    product = Product(1, "X", Decimal(1), "c", {"specifications": {"wireless": True}}, 1)
    load(shop, [product])
    shop.mongo.productmetas.update_one({}, {"$set": {"specifications.wireless": 1}})
    assert load(shop, [product]).metadata == 1


def test_seeding_keeps_other_products(shop: Stores) -> None:
    own = Product(1000, "My own", Decimal("5.50"), "mine", {"description": "d"}, 3)
    load(shop, [own])
    seed(shop, 5)
    assert batched(shop)[-1] == {
        "id": 1000,
        "name": "My own",
        "price": "5.50",
        "metadata": {"description": "d"},
        "stock": "3",
    }


def test_loading_null_deletes_the_stored_value(shop: Stores) -> None:
    full = Product(7, "Desk", Decimal(9), "c", {"description": "d"}, 3)
    load(shop, [full])
    bare = Product(7, "Desk", Decimal(9), "c", None, None)
    assert load(shop, [bare]) == Changes(metadata=1, stock=1)
    (product,) = batched(shop)
    assert (product["metadata"], product["stock"]) == (None, None)
    assert shop.redis.exists("stock:7") == 0


def test_prices_keep_their_digits(shop: Stores) -> None:
    prices = ["0", "9.90", "1200", "0.0000000001", "999999999999999"]
    load(
        shop,
        [Product(n, "X", Decimal(p), "c", None, None) for n, p in enumerate(prices, start=1)],
    )
    assert [p["price"] for p in batched(shop)] == prices


def test_the_stores_have_the_generated_products(shop: Stores) -> None:
    seed(shop, 40, orders=False)
    expected = [
        {
            "id": p.id,
            "name": p.name,
            "price": str(p.price),
            "metadata": p.metadata,
            "stock": str(p.stock),
        }
        for p in products(40)
    ]
    assert batched(shop) == expected
    json.dumps(expected)


def test_progress_reports_every_record_once(shop: Stores) -> None:
    seen: dict[str, int] = {}
    totals: dict[str, int] = {}

    def report(store: str, done: int, total: int) -> None:
        seen[store] = seen.get(store, 0) + done
        totals[store] = total

    seed(shop, 1200, progress=report)
    assert (
        seen
        == totals
        == {"MongoDB": 1200, "Redis": 1200, "PostgreSQL": 1200, "orders": 3600}
        | {"sales": sum(shop.mongo[name].count_documents({}) for name in (SALES, PURCHASES))}
    )


@pytest.mark.parametrize("store", ["MongoDB", "sales"])
def test_an_interrupted_seed_of_many_products_is_completed_by_the_next(
    shop: Stores, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """Many documents are loaded without indexes: these exist again after an interruption."""
    monkeypatch.setattr(seeding, "_MANY", 20)
    collections = [shop.mongo.productmetas, shop.mongo.purchases]
    indexes = [collection.index_information() for collection in collections]

    def interrupt(what: str, _done: int, _total: int) -> None:
        if what == store:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seed(shop, 30, progress=interrupt)
    assert [collection.index_information() for collection in collections] == indexes
    seed(shop, 30)
    assert seed(shop, 30) == Changes()
    assert [collection.index_information() for collection in collections] == indexes
    assert rebuild_sales(shop).findings == []


def test_generated_metadata_is_valid(shop: Stores) -> None:
    """A seed does not let MongoDB validate it."""
    seed(shop, 200, orders=False)
    assert shop.mongo.productmetas.count_documents({"$nor": [validator()]}) == 0
    shop.mongo.productmetas.insert_one(
        {"product_id": 999, "tags": "no list"}, bypass_document_validation=True
    )
    assert shop.mongo.productmetas.count_documents({"$nor": [validator()]}) == 1


def test_a_load_is_validated(shop: Stores) -> None:
    with pytest.raises(BulkWriteError, match="121"):
        load(shop, [Product(1, "X", Decimal(1), "c", {"tags": "no list"}, 1)])


def test_two_documents_for_one_product_raise(shop: Stores) -> None:
    seed(shop, 3)
    with pytest.raises(DuplicateKeyError):
        shop.mongo.productmetas.insert_one({"product_id": 1})


def test_a_negative_price_violates_the_check_constraint(stores: Stores) -> None:
    create_shop(stores)
    with pytest.raises(psycopg.errors.CheckViolation):
        stores.postgres.execute("INSERT INTO products VALUES (1, 'X', -1, 'c')")


def test_a_failed_load_leaves_no_incomplete_product(shop: Stores) -> None:
    seed(shop, 3)
    good = Product(10, "Good", Decimal(1), "c", {"description": "d"}, 1)
    bad = Product(11, "Bad", Decimal(-1), "c", {"description": "d"}, 1)
    # Citus reports an error of a shard during COPY as an internal error.
    with pytest.raises(psycopg.Error, match="violates check constraint"):
        load(shop, [good, bad])
    assert [p["id"] for p in batched(shop)] == [1, 2, 3]


def test_dropping_the_shop_keeps_other_data(stores: Stores) -> None:
    seed(stores, 5)
    stores.redis.set("other", "1")
    stores.mongo.others.insert_one({"a": 1})
    stores.postgres.execute("CREATE TABLE others (id int)")
    drop_shop(stores)
    drop_shop(stores)
    assert count_products(stores) == 0
    assert keys_of(stores) == ["other"]
    assert collections_of(stores) == ["others"]
    assert stores.postgres.execute("SELECT count(*) FROM others").fetchone() == (0,)


def _seed_again(shop: Stores) -> None:
    seed(shop, 20)


def _order_and_relay(shop: Stores) -> None:
    Orders.of(shop).place(1, 1, 1)
    relay(shop)


def _order_and_seed(shop: Stores) -> None:
    Orders.of(shop).place(1, 1, 1)
    seed(shop, 20)


def _load_a_catalog(shop: Stores) -> None:
    load(shop, [Product(10**6, "Desk", Decimal(9), "c", {"tags": ["home"]}, 3)])


def _lose_sales(shop: Stores) -> None:
    shop.mongo.sales.delete_many({})
    shop.mongo.purchases.delete_one({})
    shop.mongo.sales.insert_one({"_id": 1, "product_id": 1, "orders": 1, "units": 1})
    seed(shop, 20)


@pytest.mark.parametrize(
    "act",
    [
        *(_seed_again, _order_and_relay, _order_and_seed, _load_a_catalog, _lose_sales),
        pytest.param(drop_shop, id="seed after a reset"),
    ],
)
def test_nothing_has_to_be_reconciled_after_seeding(
    act: Callable[[Stores], None], shop: Stores
) -> None:
    seed(shop, 20)
    act(shop)
    if act is drop_shop:
        seed(shop, 20)
    assert reconcile(Stock.of(shop)).findings == []
    report = rebuild_sales(shop)
    assert (report.products > 0, report.findings) == (True, [])


def test_sales_that_a_relay_writes_during_a_seed_keep_the_higher_totals(
    shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay may insert a document after the seed has seen that it is missing."""
    seed(shop, 20)
    expected = sorted(shop.mongo.sales.find(), key=itemgetter("_id"))
    shop.mongo.sales.delete_many({})
    insert_many = Collection.insert_many

    def insert_late(collection: Collection[Any], documents: Any, **options: Any) -> Any:
        shop.mongo.sales.insert_one({"_id": 1, "product_id": 1, "orders": 1, "units": 1})
        return insert_many(collection, documents, **options)

    monkeypatch.setattr(Collection, "insert_many", insert_late)
    add_sales(shop)
    assert sorted(shop.mongo.sales.find(), key=itemgetter("_id")) == expected
