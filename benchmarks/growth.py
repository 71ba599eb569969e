"""What the shop's requests cost as the catalogue grows, and what 16 customers at once get."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx

from benchmarks.timing import print_figure, seconds
from helpers.lab.background_programs import ServiceProcess, start_service
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.shop.seeding import seed

_SIZES = (1_000, 10_000, 100_000)
_REPETITIONS = 40
_CUSTOMERS = 16
_SECONDS = 30.0

#: Sends a request for a catalogue of this many products.
_Send = Callable[[httpx.Client, random.Random, int], httpx.Response]


def _get(path: str) -> _Send:
    return lambda client, _draw, _size: client.get(path)


_REQUESTS: dict[str, _Send] = {
    "first page": _get("/api/products?limit=24"),
    "facets": _get("/api/facets"),
    "facets with a tag": _get("/api/facets?tag=gift"),
    "category": _get("/api/products?category=laptop"),
    "tag": _get("/api/products?tag=gift"),
    "category, tag, in stock": _get("/api/products?category=laptop&tag=gift&in_stock=true"),
    "specification": _get("/api/products?spec.ram=16GB"),
    "one product": lambda client, draw, size: client.get(
        f"/api/products/{draw.randrange(1, size + 1)}"
    ),
    "order": lambda client, draw, size: client.post(
        "/api/orders",
        json={"product_id": draw.randrange(1, size + 1), "quantity": 1, "customer_id": 7},
    ),
}


def bench_growth(settings: Settings) -> None:
    """Print the times of seeding and of each request, and those of mixed customers, by size."""
    medians: defaultdict[str, list[float]] = defaultdict(list)
    for size in _SIZES:
        with open_databases("bench_growth", 12, settings) as stores:
            took = seconds(lambda size=size, stores=stores: seed(stores, size))  # type: ignore[misc]
            print_figure(f"seeding {size:,} products and their orders", [took], "s")
            with start_service(stores) as service:
                for name, send in _REQUESTS.items():
                    times = _times(service, send, size)
                    print_figure(f"  {name}, {size:,} products", times, "ms")
                    medians[name].append(sorted(times)[len(times) // 2])
                _print_customers(_shop_together(service, size), size)
    for name, (*_, smaller, larger) in medians.items():
        print_figure(f"{name}, 100,000 compared with 10,000", [larger / smaller], "times")


def _times(service: ServiceProcess, send: _Send, size: int) -> list[float]:
    """Return the milliseconds of each request, the first one included."""
    draw = random.Random(size)
    times = []
    with _client(service) as client:
        for _ in range(_REPETITIONS):
            began = time.perf_counter()
            assert send(client, draw, size).status_code in (200, 201, 409)
            times.append(1000 * (time.perf_counter() - began))
    return times


@dataclass
class _Visits:
    """What the customers got: the milliseconds of each response, and the imperfect ones."""

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    degraded: Counter[str] = field(default_factory=Counter)


def _shop_together(service: ServiceProcess, size: int) -> _Visits:
    """Let customers page, filter, open products and order, until the time is over."""
    visits, end = _Visits(), time.monotonic() + _SECONDS

    def visit(number: int) -> None:
        draw = random.Random(number)
        with _client(service) as client:
            while time.monotonic() < end:
                for name in _steps(draw):
                    began = time.perf_counter()
                    response = _REQUESTS[name](client, draw, size)
                    visits.times[name].append(1000 * (time.perf_counter() - began))
                    if response.status_code not in (200, 201, 409):
                        visits.degraded[f"{name}: {response.status_code}"] += 1
                    elif "x-missing-stores" in response.headers:
                        visits.degraded[
                            f"{name}: without {response.headers['x-missing-stores']}"
                        ] += 1

    threads = [threading.Thread(target=visit, args=[number]) for number in range(_CUSTOMERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return visits


def _steps(draw: random.Random) -> Iterator[str]:
    """Yield the requests of one visit: the shop's page, filters, a few products, maybe an order."""
    yield from ("first page", "facets")
    for name in draw.sample(["category", "tag", "specification", "category, tag, in stock"], 2):
        yield name
        yield "facets with a tag"
    yield from ["one product"] * 3
    if draw.random() < 0.3:
        yield "order"


def _print_customers(visits: _Visits, size: int) -> None:
    every = sorted(time for times in visits.times.values() for time in times)
    rate = len(every) / _SECONDS
    print_figure(f"  {_CUSTOMERS} customers, {size:,} products", [rate], "requests per second")
    print_figure("    95 % of responses within", [every[int(0.95 * len(every))]], "ms")
    print_figure("    slowest response", [every[-1]], "ms")
    print_figure("    degraded responses", [sum(visits.degraded.values())], "")
    for what, count in visits.degraded.most_common(5):
        print(f"      {what}: {count}")


def _client(service: ServiceProcess) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers=service.write_headers, timeout=60)
