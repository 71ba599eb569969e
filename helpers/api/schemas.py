"""What goes in and out, as types with examples: OpenAPI is made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from helpers.errors import StoreName
from helpers.stores.circuit_breaker import BreakerState
from helpers.validation import LARGEST_ID, MOST_UNITS


def _whole(value: object) -> object:
    """Take ``15.0`` for what it is: JSON knows numbers, and no kinds of them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[int, Field(ge=1, le=LARGEST_ID), BeforeValidator(_whole)]
Units = Annotated[int, Field(ge=0, le=MOST_UNITS), BeforeValidator(_whole)]
Quantity = Annotated[int, Field(ge=1, le=MOST_UNITS), BeforeValidator(_whole)]

_LAPTOP: dict[str, Any] = {
    "id": 1,
    "name": "Laptop A",
    "price": "1200",
    "metadata": {
        "description": "High-performance laptop",
        "tags": ["electronics", "laptop"],
        "specifications": {"ram": "16GB", "cpu": "Intel i7"},
    },
    "stock": "15",
}


class _Sent(BaseModel):
    """A body that comes in: nothing is guessed, and nothing else may be in it."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ProductOut(BaseModel):
    """A product: id, name and price from PostgreSQL, metadata from MongoDB, stock from Redis."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LAPTOP]})

    id: Id
    name: str
    price: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$", description="In digits.")]
    metadata: Annotated[
        dict[str, Any] | None,
        Field(description="`description`, `tags`, `specifications`, and whatever else is kept."),
    ]
    stock: Annotated[
        str | None,
        Field(pattern=r"^[0-9]+$", description="Units available; null where nobody knows."),
    ]


class ValueOut(BaseModel):
    """A value, and how many products have it."""

    value: str | float | bool
    count: Annotated[int, Field(ge=1)]


class FacetsOut(BaseModel):
    """What the products may be narrowed down by; null where its store is away."""

    category: list[ValueOut] | None
    tags: list[ValueOut] | None
    specifications: dict[str, list[ValueOut]] | None


class StockIn(_Sent):
    """The units of a product that are on hand."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"on_hand": 15}]})

    on_hand: Units


class StockOut(BaseModel):
    """The units on hand, as the ledger has them, and those that can be bought."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": 1, "on_hand": 15, "stock": "13"}]}
    )

    id: Id
    on_hand: Units
    stock: Annotated[str, Field(pattern=r"^[0-9]+$")]


class OrderIn(_Sent):
    """Units of one product, for one customer."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"product_id": 1, "quantity": 2, "customer_id": 7}]}
    )

    product_id: Id
    quantity: Quantity
    customer_id: Id


class OrderOut(BaseModel):
    """An order that is recorded: its units are sold."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1000000000001,
                    "product_id": 1,
                    "quantity": 2,
                    "customer_id": 7,
                    "order_date": "2026-03-01T12:00:00+00:00",
                }
            ]
        }
    )

    id: Id
    product_id: Id
    quantity: Quantity
    customer_id: Id
    order_date: datetime


class BreakerHealth(BaseModel):
    """Whether the store is asked at all: ``closed``: yes; ``half-open``: by one who tries.

    After some failures in a row it is ``open`` for a while, and nobody asks.
    """

    state: BreakerState
    failures: Annotated[int, Field(ge=0, description="In a row.")]
    retry_seconds: Annotated[float, Field(ge=0, description="Until it is tried again.")]


class StoreHealth(BaseModel):
    """Whether a store answers, and how fast. It is asked whatever its breaker says."""

    status: Annotated[str, Field(pattern="^(ok|down)$")]
    ms: float | None
    detail: str | None
    breaker: Annotated[BreakerHealth | None, Field(description="null where there is none.")]
    nodes: Annotated[
        dict[str, str] | None, Field(description="PostgreSQL's nodes with products: ok or down.")
    ] = None


class HealthOut(BaseModel):
    """How each store does. ``down``: without PostgreSQL there are no products.

    ``degraded``: something else is away, be it a node.
    """

    status: Annotated[str, Field(pattern="^(ok|degraded|down)$")]
    stores: dict[StoreName, StoreHealth]


class FieldProblem(BaseModel):
    """What is wrong with one field of a body."""

    field: str
    reason: str


class Problem(BaseModel):
    """Problem details (RFC 9457), with members of our own for those that have more to say."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/bad-parameter",
                    "title": "A parameter is not what it must be",
                    "status": 400,
                    "detail": "limit is 5000. Give a whole number from 1 to 1000.",
                    "request_id": "5f0c9b1e",
                    "field": "limit",
                }
            ]
        },
    )

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    request_id: str | None
    field: str | None = None
    store: StoreName | None = None
    nodes: list[str] | None = None
    available: dict[str, int] | None = None
    errors: list[FieldProblem] | None = None
