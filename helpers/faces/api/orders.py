"""``/api/orders``: reserve units and record their sale; read an order again."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request, Response

from helpers.faces.api.documentation import WRITING, id_in_path, problem_responses
from helpers.faces.api.parameters import no_query, path_id, read_pairs
from helpers.faces.api.problems import problem
from helpers.faces.api.schemas import OrderIn, OrderOut
from helpers.faces.api.security import TOKEN
from helpers.faces.api.service import Service
from helpers.shop.model import Order
from helpers.shop.schema import FIRST_ORDER

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
            **problem_responses(*WRITING, "unknown-product", "sold-out", "not-reserved"),
        },
        dependencies=[TOKEN],
    )
    async def place_order(order: OrderIn, response: Response) -> OrderOut:
        """Reserve the units in Redis, then record order and sale together in PostgreSQL."""

        def place() -> Order:
            return service.orders.place(order.product_id, order.quantity, order.customer_id)

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
