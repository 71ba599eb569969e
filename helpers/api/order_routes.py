"""``/api/orders``: place an order, and read it again."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import StringConstraints
from pydantic.json_schema import SkipJsonSchema

from helpers.api.openapi import LOCATION, WRITE_ERRORS, problems
from helpers.api.problems import unknown_id
from helpers.api.schemas import NoParameters, OrderIn, OrderOut, PathId
from helpers.api.service import TOKEN, ServiceOfApp
from helpers.errors import QueryError
from helpers.orders.order_rows import FIRST_ORDER

#: The header with the client's own name for an order.
KEY_HEADER = "Idempotency-Key"

OrderId = Annotated[PathId, Path(description="The order's id.", examples=[FIRST_ORDER])]


async def idempotency_key(
    request: Request,
    key: Annotated[
        # White space around a header's value is not part of it (RFC 9110, 5.5).
        Annotated[str, StringConstraints(strip_whitespace=True, pattern="^[A-Za-z0-9_-]{1,64}$")]
        | SkipJsonSchema[None],
        Header(
            alias=KEY_HEADER,
            description=(
                "The client's own name for this order. A retry with the same key returns the same "
                "order, at any time. A key belongs to a product: with another product, it is the "
                "key of another order."
            ),
            examples=["0b8e4a6e-7d52-4c8a-9d0f-3f1d6f1b2a77"],
        ),
    ] = None,
) -> str | None:
    """Return the key of an order. FastAPI would take the first of several keys: refuse these."""
    if len(request.headers.getlist(KEY_HEADER)) > 1:
        raise QueryError(KEY_HEADER, "is given more than once", "Give it once")
    return key


router = APIRouter(prefix="/api/orders", tags=["orders"])


@router.post(
    "",
    status_code=201,
    summary="Order units of a product",
    response_model=OrderOut,
    responses={
        201: {"headers": LOCATION},
        **problems(
            *("bad-parameter", *WRITE_ERRORS),
            *("unknown-product", "sold-out", "not-reserved", "key-reused"),
        ),
    },
    dependencies=[TOKEN],
)
async def place_order(
    service: ServiceOfApp,
    order: OrderIn,
    response: Response,
    key: Annotated[str | None, Depends(idempotency_key)],
) -> object:
    """Reserve the units in Redis, then record order and sale in one transaction in PostgreSQL.

    If the response is lost, retry with the same `Idempotency-Key`.
    """
    place = partial(
        service.orders.place, order.product_id, order.quantity, order.customer_id, key=key
    )
    placed = await service.run_blocking(
        place, "PostgreSQL", "Redis", product_ids=[order.product_id]
    )
    response.headers["Location"] = f"/api/orders/{placed.id}"
    return placed


@router.get(
    "/{order_id}",
    summary="Show one order",
    response_model=OrderOut,
    responses=problems(
        *("bad-parameter", "unknown-order", "store-unavailable", "timeout", "overloaded")
    ),
)
async def show_order(
    service: ServiceOfApp, order_id: OrderId, _: Annotated[NoParameters, Query()]
) -> object:
    """Return the order. Every shard is queried: the id does not tell on which it is."""
    order = await service.run_blocking(partial(service.orders.find, order_id), "PostgreSQL")
    if order is None:
        raise unknown_id("order_id", order_id)
    return order
