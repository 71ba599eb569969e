"""Types of requests and responses, with examples: FastAPI validates and documents with them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from helpers.errors import StoreName
from helpers.stores.circuit_breaker import BreakerState
from helpers.validation import LARGEST_ID, MOST_UNITS


def _whole(value: object) -> object:
    """Accept ``15.0`` as a whole number: JSON has one type for all numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[int, Field(ge=1, le=LARGEST_ID), BeforeValidator(_whole)]
Units = Annotated[int, Field(ge=0, le=MOST_UNITS), BeforeValidator(_whole)]
Quantity = Annotated[int, Field(ge=1, le=MOST_UNITS), BeforeValidator(_whole)]

_DIGITS = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def whole_number(text: object) -> object:
    """Return the number that ``text`` of a URL stands for; a default that is no text stays.

    Pydantic alone would also accept ``+5``, ``1.0``, ``1_000`` and digits of other scripts.
    """
    if isinstance(text, str):
        if not _DIGITS.fullmatch(text):
            raise PydanticCustomError(
                "whole_number", "{text} is not a whole number", {"text": repr(text[:40])}
            )
        return int(text)
    return text


#: An id in a path. A malformed id is the id of nothing: the response is 404.
PathId = Annotated[int, Field(ge=1, le=LARGEST_ID), BeforeValidator(whole_number)]


class NoParameters(BaseModel):
    """The query parameters of a route that has none: any other is refused."""

    model_config = ConfigDict(extra="forbid")


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


class _RequestBody(BaseModel):
    """The body of a request: types are not converted, and unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ProductOut(BaseModel):
    """A product: id, name and price from PostgreSQL, metadata from MongoDB, stock from Redis."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LAPTOP]})

    id: Id
    name: str
    price: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$", description="A decimal number.")]
    metadata: Annotated[
        dict[str, Any] | None,
        Field(description="`description`, `tags`, `specifications` and other fields."),
    ]
    stock: Annotated[
        str | None,
        Field(pattern=r"^[0-9]+$", description="Units available; null if this is unknown."),
    ]


class ValueOut(BaseModel):
    """A value and the number of products that have it."""

    value: str | float | bool
    count: Annotated[int, Field(ge=1)]


class FacetsOut(BaseModel):
    """Values to filter products by; a part is null if its store is unavailable."""

    category: list[ValueOut] | None
    tags: list[ValueOut] | None
    specifications: dict[str, list[ValueOut]] | None


class StockIn(_RequestBody):
    """The number of units of a product on hand."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"on_hand": 15}]})

    on_hand: Units


class StockOut(BaseModel):
    """The units on hand according to the ledger, and those that can be bought."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": 1, "on_hand": 15, "stock": "13"}]}
    )

    id: Id
    on_hand: Units
    stock: Annotated[str, Field(pattern=r"^[0-9]+$")]


class OrderIn(_RequestBody):
    """An order of one product for one customer."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"product_id": 1, "quantity": 2, "customer_id": 7}]}
    )

    product_id: Id
    quantity: Quantity
    customer_id: Id


class OrderOut(BaseModel):
    """A recorded order: its units are sold."""

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
    """The circuit breaker of a store. ``closed``: all requests are sent to the store.

    ``open``, after repeated failures: none is sent for a while. ``half-open``: one is sent as a
    trial.
    """

    state: BreakerState
    failures: Annotated[int, Field(ge=0, description="Failures in a row.")]
    retry_seconds: Annotated[float, Field(ge=0, description="Seconds until the next trial.")]


class StoreHealth(BaseModel):
    """Whether a store responds, and how fast. It is pinged even if its circuit is open."""

    status: Annotated[str, Field(pattern="^(ok|down)$")]
    ms: float | None
    detail: str | None
    breaker: Annotated[BreakerHealth | None, Field(description="null with `--no-breaker`.")]
    nodes: Annotated[
        dict[str, str] | None, Field(description="PostgreSQL's nodes with products: ok or down.")
    ] = None


class HealthOut(BaseModel):
    """The health of each store. ``down``: PostgreSQL is unavailable, so there are no products.

    ``degraded``: another store, or a node of PostgreSQL, is unavailable.
    """

    status: Annotated[str, Field(pattern="^(ok|degraded|down)$")]
    stores: dict[StoreName, StoreHealth]


class FieldProblem(BaseModel):
    """What is wrong with one field of a body."""

    field: str
    reason: str


class Problem(BaseModel):
    """Problem details (RFC 9457) with extension members."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/bad-parameter",
                    "title": "A parameter is not what it must be",
                    "status": 400,
                    "detail": "limit: Input should be less than or equal to 1000.",
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
