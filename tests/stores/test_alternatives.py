"""The same answer by other means: what the join answers, PostgreSQL, pandas and DuckDB do too."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest

from helpers.shop.alternatives import duckdb_json, flat_json, join_with_pandas, make_flat
from helpers.shop.joins import batched, products_json
from helpers.shop.model import Product
from helpers.shop.seed import load, seed
from helpers.stores import Stores


def _flat(stores: Stores) -> bytes:
    make_flat(stores)
    return flat_json(stores.postgres)


WAYS = pytest.mark.parametrize(
    "answer",
    [_flat, lambda stores: products_json(join_with_pandas(stores)), duckdb_json],
    ids=["flat", "pandas", "duckdb"],
)


@WAYS
@pytest.mark.parametrize("count", [0, 1, 60])
def test_the_answer_is_the_same(
    answer: Callable[[Stores], bytes], count: int, stores: Stores
) -> None:
    seed(stores, count, orders=False)
    found = json.loads(answer(stores))
    assert found == json.loads(products_json(batched(stores)))
    assert len(found) == count


@WAYS
def test_what_is_missing_is_null(answer: Callable[[Stores], bytes], stores: Stores) -> None:
    seed(stores, 30, orders=False)
    for number in range(1, 31, 3):
        stores.redis.delete(f"stock:{number}")
    stores.mongo.productmetas.delete_many({"product_id": {"$mod": [4, 0]}})
    stores.mongo.productmetas.insert_one({"product_id": 999, "description": "of no product"})
    stores.redis.set("stock:2", "-3")
    found = json.loads(answer(stores))
    assert found == json.loads(products_json(batched(stores)))
    assert [one["id"] for one in found if one["metadata"] is None] == list(range(4, 31, 4))
    assert [one["id"] for one in found if one["stock"] is None] == list(range(1, 31, 3))


@WAYS
@pytest.mark.parametrize("anything", [True, False])
def test_empty_metadata_and_zero_are_not_null(
    answer: Callable[[Stores], bytes], anything: bool, stores: Stores
) -> None:
    price = Decimal("12.50")
    products = [Product(2, 'Çok "iyi"\n', price, "c", None, None)]
    if anything:
        products.append(Product(1, "A", price, "c", {"x": {"y": [None, 1.5, "ü"]}}, 0))
        products.append(Product(3, "B", price, "c", {}, 1))
    load(stores, products)
    assert json.loads(answer(stores)) == json.loads(products_json(batched(stores)))
