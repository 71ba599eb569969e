"""A product as it is before it is split over the stores, and as the API shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Product:
    """One product, whole.

    ``name``, ``price`` and ``category`` live in PostgreSQL, ``metadata`` (``description``,
    ``tags``, ``specifications`` and whatever else) in MongoDB, ``stock`` in Redis. ``None`` means
    that the product has no metadata, or that its stock is not known.
    """

    id: int
    name: str
    price: Decimal
    category: str
    metadata: Metadata | None
    stock: int | None


@dataclass(frozen=True)
class Order:
    """One order: ``quantity`` units of one product, at ``order_date`` (ISO 8601, UTC)."""

    id: int
    product_id: int
    customer_id: int
    quantity: int
    order_date: str


class ProductJSON(TypedDict):
    """One product as ``GET /api/products`` shows it: the original system's JSON.

    ``price`` and ``stock`` are strings, as the original had them; ``metadata`` and ``stock`` are
    ``None`` where a store has nothing (the original answered ``"0"`` for a missing stock).
    """

    id: int
    name: str
    price: str
    metadata: Metadata | None
    stock: str | None


def stock_key(product_id: int | str) -> str:
    """Return the Redis key of a product's stock, as the original named it (``"*"``: of all)."""
    return f"stock:{product_id}"


def stock_keys(product_ids: Iterable[int]) -> list[str]:
    """Return the Redis keys of the stock of several products."""
    return [f"stock:{product_id}" for product_id in product_ids]


def price_text(price: Decimal) -> str:
    """Return a price as the API shows it: digits, never an exponent."""
    return format(price, "f")
