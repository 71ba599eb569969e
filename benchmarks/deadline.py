"""The slowest response of the API relative to its deadline, with each server frozen in turn."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from benchmarks.timing import print_figure
from helpers.faults import inject_faults
from helpers.lab.background_programs import ServiceProcess, start_service
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.shop.seeding import seed

_PRODUCTS = 200
_DEADLINE = 2.0
_CALLERS = 8
_ROUNDS = 4
_PATIENCE = 60.0
_NAMES = ("coordinator", "worker1", "mongo", "redis")
_REQUESTS: tuple[tuple[str, str, dict[str, int] | None], ...] = (
    ("GET", "/api/products", None),
    ("GET", "/api/products?tag=gift&in_stock=true&limit=10", None),
    ("GET", "/api/products/1", None),
    ("GET", "/api/facets", None),
    ("GET", "/healthz", None),
    ("POST", "/api/orders", {"product_id": 1, "quantity": 1, "customer_id": 7}),
    ("PUT", "/api/products/2/stock", {"on_hand": 9}),
)


def bench_deadline(settings: Settings) -> None:
    """Print the slowest response of reads and writes as a percentage of the deadline."""
    with (
        open_databases("bench_deadline", 14, settings) as stores,
        inject_faults(stores, settings=settings) as faults,
    ):
        seed(stores, _PRODUCTS, orders=False)
        print(
            f"The slowest response, in percent of the deadline of {_DEADLINE:g} s, by frozen server"
        )
        for options in ((), ("--no-breaker",)):
            with start_service(stores, "--deadline", str(_DEADLINE), *options) as service:
                for name in (None, *_NAMES):
                    what = f"  {name or 'nothing'}{', no breaker' if options else ''}"
                    with contextlib.nullcontext() if name is None else faults.frozen(name):
                        slowest = max(_measure(service))
                    print_figure(what, [100 * slowest / _DEADLINE], "%")
                    _await_health(service)


def _measure(service: ServiceProcess) -> list[float]:
    """Return the seconds of each response, with several concurrent callers."""
    with (
        httpx.Client(
            base_url=service.url, headers=service.write_headers, timeout=_PATIENCE
        ) as client,
        ThreadPoolExecutor(_CALLERS) as pool,
    ):

        def send(request: tuple[str, str, Any]) -> float:
            method, path, body = request
            began = time.perf_counter()
            client.request(method, path, json=body)
            return time.perf_counter() - began

        return list(pool.map(send, _REQUESTS * _ROUNDS))


def _await_health(service: ServiceProcess) -> None:
    """Wait until all stores are available and all circuits are closed."""
    while True:
        health = httpx.get(f"{service.url}/healthz", timeout=_PATIENCE).json()
        httpx.get(f"{service.url}/api/products", timeout=_PATIENCE)
        breakers = [store["breaker"] for store in health["stores"].values()]
        closed = all(not breaker or breaker["state"] == "closed" for breaker in breakers)
        if health["status"] == "ok" and closed:
            return
        time.sleep(0.1)
