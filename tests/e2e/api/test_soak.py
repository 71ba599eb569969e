"""64 clients send thousands of requests: no errors, no leaked connections, no leaked memory."""

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
# The allocator may keep some free memory. A leak of 1 KiB per request would be 6 MiB.
_MAX_GROWTH = 4 * _MEBIBYTE

# The connections of five pools, of the drivers' monitoring, and of the views' background worker. A
# connection that is not returned to its pool makes requests fail; others would be many more.
_MAX_CONNECTIONS = 5 * Limits().connections + 10

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
def test_many_requests_leak_neither_connections_nor_memory(
    shop: Stores, options: tuple[str, ...]
) -> None:
    with start_service(shop, *options) as service:
        urls = [f"{service.url}{path}" for path in _PATHS]
        process = psutil.Process(service.pid)
        measure(urls, clients=_CALLERS, requests=_FILLING)  # pools and caches
        before = process.memory_info().rss
        load = measure(urls, clients=_CALLERS, requests=_REQUESTS)
        open_now, after = _open_connections(process, service), process.memory_info().rss
        assert load.failures == {}
        assert len(load.latencies) == load.requests == _REQUESTS
        assert open_now <= _MAX_CONNECTIONS
        assert after - before < _MAX_GROWTH
        assert httpx.get(f"{service.url}/healthz").json()["status"] == "ok"


def _open_connections(process: psutil.Process, service: ServiceProcess) -> int:
    """Return the number of the service's connections after all clients have disconnected."""
    port = int(service.url.rpartition(":")[2])
    while True:
        open_now = [
            connection
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED and connection.raddr
        ]
        if not any(connection.laddr.port == port for connection in open_now):
            return len(open_now)
