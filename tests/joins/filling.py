"""Write the data of ``MemoryStores`` to the three stores directly, without validation."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.catalog.model import ProductJSON, stock_key
from helpers.shop.schema import create_shop
from helpers.stores import Stores
from tests.joins.memory import MemoryStores


def make_tables(stores: Stores, *, unique: bool = True) -> None:
    """Create the tables, and a collection without a validator (``unique``: one per product)."""
    stores.mongo.productmetas.drop()
    create_shop(stores)
    stores.mongo.productmetas.drop()
    if unique:
        stores.mongo.productmetas.create_index("product_id", unique=True)


def put(stores: Stores, shop: MemoryStores) -> None:
    """Replace all rows, documents and stock counts with those of ``shop``."""
    stores.postgres.execute("DELETE FROM products")
    stores.mongo.productmetas.delete_many({})
    stores.redis.flushdb()
    with stores.postgres.cursor() as cursor:
        if shop.rows:
            with cursor.copy("COPY products (id, name, price, category) FROM STDIN") as copy:
                for product_id, row in shop.rows.items():
                    copy.write_row((product_id, *row))
    if shop.documents:
        stores.mongo.productmetas.insert_many([dict(document) for document in shop.documents])
    if shop.counts:
        stores.redis.mset(
            {stock_key(product_id): count for product_id, count in shop.counts.items()}
        )


def insert_product(stores: Stores, product_id: int, category: str, tags: Sequence[str]) -> None:
    """Add a product to all three stores, with 5 units."""
    stores.mongo.productmetas.insert_one({"product_id": product_id, "tags": list(tags)})
    stores.redis.set(stock_key(product_id), "5")
    stores.postgres.execute(
        "INSERT INTO products VALUES (%s, 'new', 1, %s)", [product_id, category]
    )


def delete_product(stores: Stores, product_id: int) -> None:
    """Delete a product from all three stores."""
    stores.postgres.execute("DELETE FROM products WHERE id = %s", [product_id])
    stores.redis.delete(stock_key(product_id))
    stores.mongo.productmetas.delete_one({"product_id": product_id})


def ids_of(products: Sequence[ProductJSON]) -> list[int]:
    """Return the ids of products, in order."""
    return [product["id"] for product in products]
