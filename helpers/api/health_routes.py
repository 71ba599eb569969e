"""``/healthz``: whether each store responds."""

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
from helpers.api.service import Service, ServiceOfApp
from helpers.errors import StoreName
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import wait_at_most
from helpers.stores.circuit_breaker import Breakers

_MAX_SECONDS = 1.0
# If the deadline of requests is shorter, this share of it, so that the response is in time.
_SHARE_OF_DEADLINE = 0.8

Ping = Callable[[AsyncStores], Awaitable[Any]]

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    summary="Check the health of each store",
    response_model=HealthOut,
    responses={503: {"description": "A store is unavailable.", "model": HealthOut}},
)
async def healthz(service: ServiceOfApp) -> Response:
    """Return 200 if all stores and their nodes respond within a second, 503 otherwise."""
    seconds = min(_MAX_SECONDS, _SHARE_OF_DEADLINE * service.options.deadline)
    nodes, *checks = await asyncio.gather(
        _check_nodes(service, seconds),
        *(_check_store(service.stores, ping, seconds) for ping in _PINGS.values()),
    )
    stores: dict[StoreName, dict[str, Any]] = {
        store: {**health, "breaker": _breaker(service.breakers, store)}
        for store, health in zip(_PINGS, checks, strict=True)
    }
    stores["PostgreSQL"]["nodes"] = nodes
    down = {name for name, health in stores.items() if health["status"] == "down"}
    is_healthy = not down and "down" not in nodes.values()
    status = "down" if "PostgreSQL" in down else "ok" if is_healthy else "degraded"
    return Response(
        orjson.dumps({"status": status, "stores": stores}),
        200 if is_healthy else 503,
        {"Cache-Control": "no-store"},
        "application/json",
    )


async def _ping_postgres(stores: AsyncStores) -> None:
    async with stores.postgres.connection() as connection:
        await connection.execute("SELECT 1", prepare=False)


_PINGS: dict[StoreName, Ping] = {
    "PostgreSQL": _ping_postgres,
    "MongoDB": lambda stores: stores.mongo.command("ping"),
    "Redis": lambda stores: stores.redis.ping(),
}


async def _check_store(stores: AsyncStores, ping: Ping, seconds: float) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        await wait_at_most(ping(stores), seconds)
    except TimeoutError:
        return {"status": "down", "ms": None, "detail": f"no response within {seconds:g} seconds"}
    except (psycopg.Error, PyMongoError, redis.RedisError) as error:
        # Only the class: the message may contain the store's address.
        return {"status": "down", "ms": None, "detail": type(error).__name__}
    milliseconds = round(1000 * (time.perf_counter() - began), 2)
    return {"status": "ok", "ms": milliseconds, "detail": None}


async def _check_nodes(service: Service, seconds: float) -> dict[str, str]:
    """Return the status of each node with products; empty if the coordinator does not respond."""
    try:
        status = await wait_at_most(service.products.workers.probe(), seconds)
    except (psycopg.Error, TimeoutError):
        return {}
    names = sorted({shard.node.name for shard in status.shards})
    return {name: "down" if name in status.unavailable_nodes else "ok" for name in names}


def _breaker(breakers: Breakers | None, store: StoreName) -> dict[str, Any] | None:
    return None if breakers is None else dataclasses.asdict(breakers[store].view())
