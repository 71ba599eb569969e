"""The joins return the original's JSON, with null for missing data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import pytest

from helpers.catalog.model import Product, ProductJSON
from helpers.joins import batched, per_product
from helpers.shop.seeding import load, seed
from helpers.stores import Stores

Join = Callable[[Stores, Iterable[int] | None], list[ProductJSON]]
BOTH = pytest.mark.parametrize("join", [per_product, batched])

ORIGINALS = [
    {
        "id": 1,
        "name": "Laptop A",
        "price": "1200",
        "metadata": {
            "description": "High-performance laptop",
            "tags": ["electronics", "laptop"],
            "specifications": {"ram": "16GB", "cpu": "Intel i7"},
        },
        "stock": "15",
    },
    {
        "id": 2,
        "name": "Phone B",
        "price": "800",
        "metadata": {
            "description": "Smartphone with AMOLED display",
            "tags": ["electronics", "phone"],
            "specifications": {"storage": "128GB", "camera": "12MP"},
        },
        "stock": "8",
    },
    {
        "id": 3,
        "name": "Tablet C",
        "price": "500",
        "metadata": {
            "description": "Affordable tablet",
            "tags": ["electronics", "tablet"],
            "specifications": {"screen": "10 inch", "battery": "6000mAh"},
        },
        "stock": "22",
    },
]


@BOTH
def test_the_originals_products_are_returned_exactly(join: Join, shop: Stores) -> None:
    seed(shop, 3)
    result = join(shop, None)
    assert result == ORIGINALS
    assert [list(product) for product in result] == [list(product) for product in ORIGINALS]


def test_both_joins_agree_whatever_is_missing(shop: Stores) -> None:
    seed(shop, 60)
    for number in range(1, 61, 3):
        shop.redis.delete(f"stock:{number}")
    shop.mongo.productmetas.delete_many({"product_id": {"$mod": [4, 0]}})
    shop.mongo.productmetas.insert_one({"product_id": 999, "description": "of no product"})
    shop.redis.set("stock:998", "5")
    result = batched(shop)
    assert result == per_product(shop)
    assert [p["id"] for p in result if p["stock"] is None] == list(range(1, 61, 3))
    assert [p["id"] for p in result if p["metadata"] is None] == list(range(4, 61, 4))


@BOTH
def test_an_empty_shop_returns_an_empty_list(join: Join, shop: Stores) -> None:
    seed(shop, 0)
    assert join(shop, None) == []


@BOTH
def test_given_ids_are_returned_in_order_without_unknown_ones(join: Join, shop: Stores) -> None:
    seed(shop, 10)
    assert [p["id"] for p in join(shop, [7, 2, 999, 2])] == [2, 7]
    assert join(shop, []) == []


@BOTH
def test_a_stock_of_zero_is_not_null(join: Join, shop: Stores) -> None:
    load(
        shop,
        [Product(1, "A", Decimal(1), "c", {}, 0), Product(2, "B", Decimal(1), "c", None, None)],
    )
    assert [(p["stock"], p["metadata"]) for p in join(shop, None)] == [("0", {}), (None, None)]


@BOTH
def test_unknown_keys_in_metadata_are_kept(join: Join, shop: Stores) -> None:
    metadata = {"description": "d", "reviews": [{"stars": 5, "text": "Çok iyi"}], "x": {"y": None}}
    load(shop, [Product(1, "A", Decimal(1), "c", metadata, 1)])
    assert join(shop, None)[0]["metadata"] == metadata
