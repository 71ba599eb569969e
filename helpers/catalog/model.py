"""Products and orders as the program uses them, and a product as the API returns it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Product:
    """A product with its parts from all three stores.

    ``name``, ``price`` and ``category`` are in PostgreSQL, ``metadata`` (``description``, ``tags``,
    ``specifications`` and any other field) in MongoDB, ``stock`` in Redis. ``None`` means that the
    product has no metadata, or that its stock is unknown.
    """

    id: int
    name: str
    price: Decimal
    category: str
    metadata: Metadata | None
    stock: int | None


@dataclass(frozen=True)
class Order:
    """An order of ``quantity`` units of one product, at ``order_date`` (ISO 8601, UTC)."""

    id: int
    product_id: int
    customer_id: int
    quantity: int
    order_date: str


class ProductJSON(TypedDict):
    """A product as ``GET /api/products`` returns it, in the format of the original system.

    ``price`` and ``stock`` are strings. ``metadata`` and ``stock`` are ``None`` if a store has no
    value (the original returned ``"0"`` for a missing stock).
    """

    id: int
    name: str
    price: str
    metadata: Metadata | None
    stock: str | None


def stock_key(product_id: int | str) -> str:
    """Return the Redis key of a product's stock count (``"*"``: the pattern of all keys)."""
    return f"stock:{product_id}"


def stock_keys(product_ids: Iterable[int]) -> list[str]:
    """Return the Redis keys of the stock counts of several products."""
    return [f"stock:{product_id}" for product_id in product_ids]


def price_text(price: Decimal) -> str:
    """Return a price as the API returns it, without an exponent."""
    return format(price, "f")
