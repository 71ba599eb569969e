"""What is in memory, put into the three stores: straight, past everything that would check it."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.catalog.model import ProductJSON, stock_key
from helpers.shop.schema import create_shop
from helpers.stores import Stores
from tests.joins.memory import MemoryStores


def make_tables(stores: Stores, *, unique: bool = True) -> None:
    """Create the tables, and a collection that takes any document (``unique``: one a product)."""
    stores.mongo.productmetas.drop()
    create_shop(stores)
    stores.mongo.productmetas.drop()
    if unique:
        stores.mongo.productmetas.create_index("product_id", unique=True)


def put(stores: Stores, shop: MemoryStores) -> None:
    """Make the rows, the documents and the counts those of ``shop``, and nothing else."""
    stores.postgres.execute("DELETE FROM products")
    stores.mongo.productmetas.delete_many({})
    stores.redis.flushdb()
    with stores.postgres.cursor() as cursor:
        if shop.rows:
            with cursor.copy("COPY products (id, name, price, category) FROM STDIN") as copy:
                for one, row in shop.rows.items():
                    copy.write_row((one, *row))
    if shop.documents:
        stores.mongo.productmetas.insert_many([dict(one) for one in shop.documents])
    if shop.counts:
        stores.redis.mset({stock_key(one): count for one, count in shop.counts.items()})


def insert_product(stores: Stores, product_id: int, category: str, tags: Sequence[str]) -> None:
    """Add one product to all three stores, 5 units of it."""
    stores.mongo.productmetas.insert_one({"product_id": product_id, "tags": list(tags)})
    stores.redis.set(stock_key(product_id), "5")
    stores.postgres.execute(
        "INSERT INTO products VALUES (%s, 'new', 1, %s)", [product_id, category]
    )


def delete_product(stores: Stores, product_id: int) -> None:
    """Delete one product from all three stores."""
    stores.postgres.execute("DELETE FROM products WHERE id = %s", [product_id])
    stores.redis.delete(stock_key(product_id))
    stores.mongo.productmetas.delete_one({"product_id": product_id})


def ids_of(products: Sequence[ProductJSON]) -> list[int]:
    """Return the ids of some products, in their order."""
    return [one["id"] for one in products]
