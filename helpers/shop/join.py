"""The join of the three stores, in the application: the original's way, and in batches.

Both give the same answer: the original's JSON, in order of id, with ``None`` for metadata or stock
that a store does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from helpers.shop.model import ProductJSON, price_text, stock_key
from helpers.stores import Document, Stores

_PRODUCTS = "SELECT id, name, price FROM products ORDER BY id"
_SOME_PRODUCTS = "SELECT id, name, price FROM products WHERE id = ANY(%s) ORDER BY id"
_METADATA = {"_id": 0, "product_id": 0}


def per_product(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join as the original did: for each product, ask MongoDB, then ask Redis.

    Takes 1 + 2n round trips for n products. ``ids`` are the products wanted (default: all).
    """
    answer = []
    for product_id, name, price in _select_products(stores, ids):
        metadata = stores.mongo.productmetas.find_one({"product_id": product_id}, _METADATA)
        stock = stores.redis.get(stock_key(product_id))
        answer.append(_product(product_id, name, price, metadata, stock))
    return answer


def batched(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join with one question to each store: the rows, then all documents, then all stock.

    Takes 3 round trips for any number of products (PyMongo fetches long answers in several
    batches of its own). ``ids`` are the products wanted (default: all).
    """
    rows = _select_products(stores, ids)
    if not rows:
        return []
    wanted = [product_id for product_id, _, _ in rows]
    # All documents are read whole: a list of every id would only make the server look each one up.
    condition: Document = {} if ids is None else {"product_id": {"$in": wanted}}
    documents = stores.mongo.productmetas.find(condition, {"_id": 0})
    metadata = {document.pop("product_id"): document for document in documents}
    found: Any = stores.redis.mget([stock_key(product_id) for product_id in wanted])
    return [
        _product(product_id, name, price, metadata.get(product_id), stock)
        for (product_id, name, price), stock in zip(rows, found, strict=True)
    ]


def _select_products(stores: Stores, ids: Iterable[int] | None) -> Sequence[tuple[Any, ...]]:
    if ids is None:
        return stores.postgres.execute(_PRODUCTS).fetchall()
    return stores.postgres.execute(_SOME_PRODUCTS, [list(ids)]).fetchall()


def _product(
    product_id: int, name: str, price: Any, metadata: Document | None, stock: Any
) -> ProductJSON:
    return {
        "id": product_id,
        "name": name,
        "price": price_text(price),
        "metadata": metadata and _shown(metadata),
        "stock": stock,
    }


def _shown(metadata: Document) -> Document:
    """Return metadata without what the collection keeps for itself, as the original's API had it.

    Documents of schema version 2 repeat the category, which is PostgreSQL's to tell.
    """
    hidden = {"schema_version", "category"} if "schema_version" in metadata else set()
    return {name: value for name, value in metadata.items() if name not in hidden}
