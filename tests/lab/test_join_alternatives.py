"""Alternatives to the join: PostgreSQL and pandas return the same products."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from helpers.catalog.model import Product
from helpers.joins import batched, products_json
from helpers.lab.join_alternatives import flat_json, join_with_pandas, make_flat
from helpers.shop.seeding import load, seed
from helpers.stores import Stores


def _flat(stores: Stores) -> bytes:
    make_flat(stores)
    return flat_json(stores.postgres)


ALTERNATIVES: dict[str, Callable[[Stores], bytes]] = {
    "flat": _flat,
    "pandas": lambda stores: products_json(join_with_pandas(stores)),
}


def _products(stores: Stores) -> list[Any]:
    """Return the products, after checking that all alternatives agree with the join."""
    expected: list[Any] = json.loads(products_json(batched(stores)))
    for name, read in ALTERNATIVES.items():
        assert json.loads(read(stores)) == expected, name
    return expected


@pytest.mark.parametrize("count", [0, 1, 60])
def test_alternatives_return_the_same_products(count: int, shop: Stores) -> None:
    seed(shop, count, orders=False)
    assert len(_products(shop)) == count


def test_missing_metadata_and_stock_are_null(shop: Stores) -> None:
    seed(shop, 30, orders=False)
    for number in range(1, 31, 3):
        shop.redis.delete(f"stock:{number}")
    shop.mongo.productmetas.delete_many({"product_id": {"$mod": [4, 0]}})
    shop.mongo.productmetas.insert_one({"product_id": 999, "description": "of no product"})
    shop.redis.set("stock:2", "-3")
    found = _products(shop)
    assert [product["id"] for product in found if product["metadata"] is None] == list(
        range(4, 31, 4)
    )
    assert [product["id"] for product in found if product["stock"] is None] == list(range(1, 31, 3))


@pytest.mark.parametrize("with_metadata", [True, False])
def test_empty_metadata_and_zero_are_not_null(with_metadata: bool, shop: Stores) -> None:
    price = Decimal("12.50")
    products = [Product(2, 'Çok "iyi"\n', price, "c", None, None)]
    if with_metadata:
        products.append(Product(1, "A", price, "c", {"x": {"y": [None, 1.5, "ü"]}}, 0))
        products.append(Product(3, "B", price, "c", {}, 1))
    load(shop, products)
    assert len(_products(shop)) == len(products)
