"""``/lab/products/<way>``: the same list each way, to be measured side by side. Not for customers.

Nothing is left out here where a store is away, and only ``single-flight`` is shared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from helpers.api.product_reads import Shared
from helpers.api.responses import Answer, Content, respond
from helpers.api.service import Service
from helpers.catalog.model import ProductJSON
from helpers.joins import products_json, strategies
from helpers.joins.executor import ALL_STORES, ResilientExecutor
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.requests import Strategy
from helpers.stores.trace import Trace

Way = Callable[[], Awaitable[Shared]]


def lab_router(service: Service) -> APIRouter:
    """Return the routes that answer the list each way."""
    router = APIRouter(prefix="/lab", include_in_schema=False)
    constant: list[Content] = []

    def joined(strategy: Callable[[], Strategy[list[ProductJSON]]]) -> Way:
        async def way() -> Shared:
            trace = Trace()
            asking = ResilientExecutor(service.stores, trace=trace, seconds=None, needed=ALL_STORES)
            with gc_relaxed():
                body = products_json(await asking.run(strategy()))
            return Shared(Answer(Content(body), trace), shared=False)

        return way

    async def read_model() -> Shared:
        assert service.view_service is not None
        return Shared(await service.view_service.read(), shared=False)

    async def always_the_same() -> Shared:
        """Answer what was there when this was first asked: what sending it costs, and no more."""
        if not constant:
            constant.append((await service.catalog.everything()).answer.content)
        return Shared(Answer(constant[0], Trace()), shared=False)

    ways: dict[str, Way] = {
        "per-product": joined(strategies.per_product),
        "batched": joined(strategies.batched),
        "at-once": joined(strategies.at_once),
        "single-flight": service.catalog.everything,
        "read-model": read_model,
        "constant": always_the_same,
    }

    @router.get("/products/{way}")
    async def products(request: Request, way: str) -> Response:
        if way not in ways:
            raise HTTPException(404)
        found = await ways[way]()
        return await respond(request, found.answer, shared=found.shared)

    return router
