"""The same answer by other means: what the join answers, PostgreSQL, pandas and DuckDB do too."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from helpers.catalog.model import Product
from helpers.joins import batched, products_json
from helpers.lab.join_alternatives import duckdb_json, flat_json, join_with_pandas, make_flat
from helpers.shop.seeding import load, seed
from helpers.stores import Stores


def _flat(stores: Stores) -> bytes:
    make_flat(stores)
    return flat_json(stores.postgres)


WAYS: dict[str, Callable[[Stores], bytes]] = {
    "flat": _flat,
    "pandas": lambda stores: products_json(join_with_pandas(stores)),
    "duckdb": duckdb_json,
}


def _answers(stores: Stores) -> list[Any]:
    """Return the one answer that all ways and the join give."""
    expected: list[Any] = json.loads(products_json(batched(stores)))
    for name, answer in WAYS.items():
        assert json.loads(answer(stores)) == expected, name
    return expected


@pytest.mark.parametrize("count", [0, 1, 60])
def test_the_answer_is_the_same(count: int, shop: Stores) -> None:
    seed(shop, count, orders=False)
    assert len(_answers(shop)) == count


def test_what_is_missing_is_null(shop: Stores) -> None:
    seed(shop, 30, orders=False)
    for number in range(1, 31, 3):
        shop.redis.delete(f"stock:{number}")
    shop.mongo.productmetas.delete_many({"product_id": {"$mod": [4, 0]}})
    shop.mongo.productmetas.insert_one({"product_id": 999, "description": "of no product"})
    shop.redis.set("stock:2", "-3")
    found = _answers(shop)
    assert [one["id"] for one in found if one["metadata"] is None] == list(range(4, 31, 4))
    assert [one["id"] for one in found if one["stock"] is None] == list(range(1, 31, 3))


@pytest.mark.parametrize("anything", [True, False])
def test_empty_metadata_and_zero_are_not_null(anything: bool, shop: Stores) -> None:
    price = Decimal("12.50")
    products = [Product(2, 'Çok "iyi"\n', price, "c", None, None)]
    if anything:
        products.append(Product(1, "A", price, "c", {"x": {"y": [None, 1.5, "ü"]}}, 0))
        products.append(Product(3, "B", price, "c", {}, 1))
    load(shop, products)
    assert len(_answers(shop)) == len(products)
