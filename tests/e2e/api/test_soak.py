"""64 callers, thousands of requests: no error, no connection that stays, no memory that grows."""

from __future__ import annotations

import httpx
import psutil
import pytest

from helpers.lab.background_programs import ServiceProcess, start_service
from helpers.lab.load import measure
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits

pytestmark = [pytest.mark.servers, pytest.mark.verify]

_CALLERS = 64
_FILLING = 2_000
_REQUESTS = 6_000
_MEBIBYTE = 1024 * 1024
# What an allocator may keep beside what is used. A leak of 1 KiB a request would be 6 MiB.
_MOST_GROWTH = 4 * _MEBIBYTE

# Those of five pools, of the drivers' own watching, and of the keeper of the views. What is lent
# and not given back, a pool lacks, and then requests fail; what is beside the pools would be many.
_MOST_CONNECTIONS = 5 * Limits().connections + 10

_PATHS = (
    "/api/products",
    "/api/products?limit=10",
    "/api/products?category=laptop",
    "/api/products?tag=electronics&in_stock=true&limit=5",
    "/api/products/1",
    "/api/products/7",
    "/api/facets?category=phone",
    "/api/products?ids=1,2,3,4,5",
)


@pytest.mark.parametrize("options", [(), ("--read-model",)], ids=["joined", "read model"])
def test_64_callers(shop: Stores, options: tuple[str, ...]) -> None:
    with start_service(shop, *options) as service:
        urls = [f"{service.url}{path}" for path in _PATHS]
        process = psutil.Process(service.pid)
        measure(urls, clients=_CALLERS, requests=_FILLING)  # pools and caches
        before = process.memory_info().rss
        load = measure(urls, clients=_CALLERS, requests=_REQUESTS)
        open_now, after = _open_connections(process, service), process.memory_info().rss
        assert load.failures == {}
        assert len(load.latencies) == load.requests == _REQUESTS
        assert open_now <= _MOST_CONNECTIONS
        assert after - before < _MOST_GROWTH
        assert httpx.get(f"{service.url}/healthz").json()["status"] == "ok"


def _open_connections(process: psutil.Process, service: ServiceProcess) -> int:
    """Return how many connections the service has, once its callers have left."""
    port = int(service.url.rpartition(":")[2])
    while True:
        open_now = [
            one
            for one in process.net_connections("tcp")
            if one.status == psutil.CONN_ESTABLISHED and one.raddr
        ]
        if not any(one.laddr.port == port for one in open_now):
            return len(open_now)
