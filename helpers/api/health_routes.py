"""``/healthz``: whether each store answers."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import psycopg
import redis
from fastapi import APIRouter
from pymongo.errors import PyMongoError
from starlette.responses import Response

from helpers.api.schemas import HealthOut
from helpers.api.service import Service
from helpers.errors import StoreName
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import wait_at_most
from helpers.stores.circuit_breaker import Breakers

_SECONDS = 1.0
# With a deadline that is shorter, so much of it: this answer is never late.
_SHARE = 0.8

Ask = Callable[[AsyncStores], Awaitable[Any]]


def health_router(service: Service) -> APIRouter:
    """Return the route that says how each store does."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/healthz",
        summary="Ask each store whether it is there",
        response_model=HealthOut,
        responses={503: {"description": "A store does not answer.", "model": HealthOut}},
    )
    async def healthz() -> Response:
        """Return 200 where all answer within a second, their nodes too, 503 otherwise."""
        seconds = min(_SECONDS, _SHARE * service.options.deadline)
        nodes, *found = await asyncio.gather(
            _nodes(service, seconds),
            *(_health(service.stores, ask, seconds) for ask in _QUESTIONS.values()),
        )
        stores: dict[StoreName, dict[str, Any]] = {
            store: {**health, "breaker": _breaker(service.breakers, store)}
            for store, health in zip(_QUESTIONS, found, strict=True)
        }
        stores["PostgreSQL"]["nodes"] = nodes
        down = {name for name, health in stores.items() if health["status"] == "down"}
        is_whole = not down and "down" not in nodes.values()
        status = "down" if "PostgreSQL" in down else "ok" if is_whole else "degraded"
        return Response(
            orjson.dumps({"status": status, "stores": stores}),
            200 if is_whole else 503,
            {"Cache-Control": "no-store"},
            "application/json",
        )

    return router


async def _ask_postgres(stores: AsyncStores) -> None:
    async with stores.postgres.connection() as connection:
        await connection.execute("SELECT 1", prepare=False)


async def _ask_mongo(stores: AsyncStores) -> None:
    await stores.mongo.command("ping")


async def _ask_redis(stores: AsyncStores) -> None:
    await stores.redis.ping()


_QUESTIONS: dict[StoreName, Ask] = {
    "PostgreSQL": _ask_postgres,
    "MongoDB": _ask_mongo,
    "Redis": _ask_redis,
}


async def _nodes(service: Service, seconds: float) -> dict[str, str]:
    """Return how each node with products does; nothing where the coordinator cannot tell."""
    try:
        standing = await wait_at_most(service.catalog.workers.probe(), seconds)
    except (psycopg.Error, TimeoutError):
        return {}
    names = sorted({one.node.name for one in standing.shards})
    return {name: "down" if name in standing.unavailable_nodes else "ok" for name in names}


def _breaker(breakers: Breakers | None, store: StoreName) -> dict[str, Any] | None:
    return None if breakers is None else dataclasses.asdict(breakers[store].view())


async def _health(stores: AsyncStores, ask: Ask, seconds: float) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        await wait_at_most(ask(stores), seconds)
    except TimeoutError:
        return {"status": "down", "ms": None, "detail": f"silent for {seconds:g} seconds"}
    except (psycopg.Error, PyMongoError, redis.RedisError) as error:
        # The class alone: the driver's words may hold its address.
        return {"status": "down", "ms": None, "detail": type(error).__name__}
    milliseconds = round(1000 * (time.perf_counter() - began), 2)
    return {"status": "ok", "ms": milliseconds, "detail": None}
