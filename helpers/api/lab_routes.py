"""``/lab/products/<strategy>``: the list of products by each strategy, for measurements.

Nothing is left out if a store is unavailable, and only ``single-flight`` shares results.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from helpers.api.responses import JSONBody, ReadResult, json_response
from helpers.api.service import Service, ServiceOfApp
from helpers.catalog.model import ProductJSON
from helpers.joins import products_json, strategies
from helpers.joins.executor import ALL_STORES, ResilientExecutor
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.requests import Strategy
from helpers.stores.trace import Trace

Read = Callable[[Service], Awaitable[ReadResult]]


def lab_router() -> APIRouter:
    """Return a route with each strategy."""
    router = APIRouter(prefix="/lab", include_in_schema=False)
    first: list[JSONBody] = []

    async def constant(service: Service) -> ReadResult:
        """Return the first body again and again, to measure only the cost of sending it."""
        if not first:
            first.append((await service.products.all_products()).body)
        return ReadResult(first[0], Trace())

    reads: dict[str, Read] = {
        "per-product": _joined(strategies.per_product),
        "batched": _joined(strategies.batched),
        "at-once": _joined(strategies.at_once),
        "single-flight": lambda service: service.products.all_products(),
        "read-model": _read_model,
        "constant": constant,
    }

    @router.get("/products/{strategy}")
    async def list_products(request: Request, service: ServiceOfApp, strategy: str) -> Response:
        if strategy not in reads:
            raise HTTPException(404)
        return await json_response(request, await reads[strategy](service))

    return router


def _joined(strategy: Callable[[], Strategy[list[ProductJSON]]]) -> Read:
    async def read(service: Service) -> ReadResult:
        trace = Trace()
        executor = ResilientExecutor(service.stores, trace=trace, seconds=None, needed=ALL_STORES)
        with gc_relaxed():
            content = products_json(await executor.run(strategy()))
        return ReadResult(JSONBody(content), trace)

    return read


async def _read_model(service: Service) -> ReadResult:
    assert service.view_service is not None
    return await service.view_service.read()
