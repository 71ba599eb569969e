"""``/api/products`` and ``/api/facets``: reading the catalogue; and setting a product's stock."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from helpers.api.cursors import encode
from helpers.api.openapi import (
    FACETS,
    PAGE,
    WRITING,
    id_in_path,
    problem_responses,
    read_responses,
)
from helpers.api.problems import problem
from helpers.api.query_parameters import (
    Pairs,
    facets_query,
    no_query,
    page_query,
    path_id,
    read_pairs,
)
from helpers.api.responses import respond
from helpers.api.schemas import FacetsOut, ProductOut, StockIn, StockOut
from helpers.api.security import TOKEN
from helpers.api.service import Service

ProductPath = Annotated[str, id_in_path("The product's id.", example=1)]


def products_router(service: Service) -> APIRouter:
    """Return the routes that read and stock products."""
    router = APIRouter(prefix="/api", tags=["products"])

    @router.get(
        "/products",
        summary="List products, joined from three stores",
        response_model=list[ProductOut],
        responses=read_responses("bad-parameter", "store-away", pages=True, stale=True),
        openapi_extra=PAGE,
    )
    async def list_products(request: Request) -> Response:
        """Without parameters, all products. With any, a page of those that meet all of them."""
        pairs = read_pairs(request.scope["query_string"])
        if pairs:
            found = await service.catalog.page(page_query(pairs))
            links = _link(pairs, found.answer.next)
            return await respond(request, found.answer, shared=found.shared, headers=links)
        found = await service.everything()
        return await respond(request, found.answer, shared=found.shared)

    @router.get(
        "/products/{product}",
        summary="Show one product",
        response_model=ProductOut,
        responses=read_responses("bad-parameter", "unknown-product", "store-away", stale=True),
    )
    async def show_product(request: Request, product: ProductPath) -> Response:
        """Return the product as the list has it."""
        no_query(read_pairs(request.scope["query_string"]))
        number = path_id(product)
        found = None if number is None else await service.product(number)
        if found is None:
            return _unknown(request, product)
        return await respond(request, found.answer, shared=found.shared)

    @router.put(
        "/products/{product}/stock",
        summary="Set the units on hand",
        response_model=StockOut,
        responses=problem_responses(*WRITING, "unknown-product"),
        dependencies=[TOKEN],
    )
    async def set_stock(request: Request, product: ProductPath, stock: StockIn) -> object:
        """Record in the ledger how many units are on hand.

        `stock` is what can be bought: the units on hand less those that are reserved. Doing it
        again changes nothing.
        """
        number = path_id(product)
        if number is None:
            return _unknown(request, product)
        setting = partial(service.stock.set_on_hand, number, stock.on_hand)
        available = await service.do(setting, "PostgreSQL", "Redis", product_ids=[number])
        return StockOut(id=number, on_hand=stock.on_hand, stock=str(available))

    @router.get(
        "/facets",
        summary="Count categories, tags and specifications",
        response_model=FacetsOut,
        responses=read_responses("bad-parameter"),
        openapi_extra=FACETS,
    )
    async def list_facets(request: Request) -> Response:
        """Return what the products may be narrowed down by, the most frequent values first.

        Categories count the products that meet the other conditions; tags and specifications those
        that meet all.
        """
        query = facets_query(read_pairs(request.scope["query_string"]))
        found = await service.catalog.facets(query)
        return await respond(request, found.answer, shared=found.shared)

    return router


def _unknown(request: Request, product: str) -> Response:
    detail = f"There is no product {product[:40]!r}."
    return problem("unknown-product", detail, request_id=request.state.request_id)


def _link(pairs: Pairs, after: int | None) -> dict[str, str]:
    """Return the header that leads to the next page; none after the last."""
    if after is None:
        return {}
    kept = [(name, value) for name, value in pairs if name != "cursor"]
    # Relative, and percent-encoded throughout: nothing of the request gets into it as it was.
    query = urlencode([*kept, ("cursor", encode(after))])
    return {"Link": f'</api/products?{query}>; rel="next"'}
