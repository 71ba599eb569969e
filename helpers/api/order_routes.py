"""``/api/orders``: reserve units and record their sale; read an order again."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request, Response

from helpers.api.openapi import KEYED, WRITING, id_in_path, problem_responses
from helpers.api.problems import problem
from helpers.api.query_parameters import KEY_HEADER, no_query, order_key, path_id, read_pairs
from helpers.api.schemas import OrderIn, OrderOut
from helpers.api.security import TOKEN
from helpers.api.service import Service
from helpers.catalog.model import Order
from helpers.orders.order_rows import FIRST_ORDER

OrderPath = Annotated[str, id_in_path("The order's id.", example=FIRST_ORDER)]


def orders_router(service: Service) -> APIRouter:
    """Return the routes that place and read orders."""
    router = APIRouter(prefix="/api/orders", tags=["orders"])

    @router.post(
        "",
        status_code=201,
        summary="Order units of a product",
        response_model=OrderOut,
        responses={
            201: {
                "headers": {
                    "Location": {
                        "description": "Where the order is.",
                        "schema": {"type": "string"},
                    }
                }
            },
            **problem_responses(
                *("bad-parameter", *WRITING),
                *("unknown-product", "sold-out", "not-reserved", "key-reused"),
            ),
        },
        openapi_extra=KEYED,
        dependencies=[TOKEN],
    )
    async def place_order(request: Request, order: OrderIn, response: Response) -> OrderOut:
        """Reserve the units in Redis, then record order and sale together in PostgreSQL.

        Where it is not known whether that was done, send it again under its `Idempotency-Key`.
        """
        key = order_key(request.headers.getlist(KEY_HEADER))
        place = partial(
            service.orders.place, order.product_id, order.quantity, order.customer_id, key=key
        )
        placed = await service.do(place, "PostgreSQL", "Redis", product_ids=[order.product_id])
        response.headers["Location"] = f"/api/orders/{placed.id}"
        return _shown(placed)

    @router.get(
        "/{order}",
        summary="Show one order",
        response_model=OrderOut,
        responses=problem_responses(
            *("bad-parameter", "unknown-order", "store-away", "too-late", "too-busy")
        ),
    )
    async def show_order(request: Request, order: OrderPath) -> object:
        """Return the order, asked of every shard: its id does not say on which it is."""
        no_query(read_pairs(request.scope["query_string"]))
        number = path_id(order)
        found = None
        if number is not None:
            found = await service.do(partial(service.orders.find, number), "PostgreSQL")
        if found is None:
            detail = f"There is no order {order[:40]!r}."
            return problem("unknown-order", detail, request_id=request.state.request_id)
        return _shown(found)

    return router


def _shown(order: Order) -> OrderOut:
    return OrderOut.model_validate(
        {
            "id": order.id,
            "product_id": order.product_id,
            "quantity": order.quantity,
            "customer_id": order.customer_id,
            "order_date": order.order_date,
        }
    )
