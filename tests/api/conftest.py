"""A shop of 40 products and a service in a thread, shared by all modules of this folder.

Each module gets the shop as it was seeded: orders and stock are put back after a module.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from helpers.lab.background_programs import ServiceProcess
from helpers.shop.schema import drop_shop
from helpers.shop.seed import seed
from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores, Proxies, proxied
from tests.api.serving import client_of, serving

COUNT = 40
#: The deadline of services over links, in seconds: what is frozen is waited for no longer.
LINKED_DEADLINE = 2.0
_WRITTEN = ("orders", "order_keys", "order_outbox")


@pytest.fixture(scope="package")
def seeded(shared: Stores) -> Iterator[Stores]:
    """Products 1 to 40 with their metadata and stock, the original's three among them."""
    drop_shop(shared)
    shared.redis.flushdb()
    seed(shared, COUNT, orders=False)
    yield shared
    drop_shop(shared)
    shared.redis.flushdb()


@pytest.fixture(scope="module")
def shop(seeded: Stores) -> Iterator[Stores]:
    """The same, restored after the module."""
    yield seeded
    for table in _WRITTEN:
        seeded.postgres.execute(f"DELETE FROM {table}")
    seeded.redis.flushdb()
    seed(seeded, COUNT, orders=False)


@pytest.fixture(scope="package")
def shared_service(seeded: Stores) -> Iterator[ServiceProcess]:
    with serving(seeded, lab=True) as running:
        yield running


@pytest.fixture(scope="package")
def proxied_shop(seeded: Stores) -> Iterator[ProxiedStores]:
    """The same databases over links that can be cut and frozen."""
    with proxied(seeded) as stores:
        yield stores


@pytest.fixture(scope="package")
def tireless(proxied_shop: ProxiedStores) -> Iterator[httpx.Client]:
    """A client of a service over links and without breakers: every question is asked."""
    proxied_shop.proxies.restore()
    with (
        serving(proxied_shop, breaker=False, deadline=LINKED_DEADLINE) as running,
        client_of(running) as one,
    ):
        yield one


@pytest.fixture
def links(proxied_shop: ProxiedStores) -> Iterator[Proxies]:
    """All links as they should be, before and after."""
    proxied_shop.proxies.restore()
    yield proxied_shop.proxies
    proxied_shop.proxies.restore()


@pytest.fixture(scope="module")
def service(shop: Stores, shared_service: ServiceProcess) -> ServiceProcess:
    """The service, with the routes of the lab."""
    return shared_service


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    """A client of the service that gives no token."""
    with httpx.Client(base_url=service.url, timeout=60) as one:
        yield one


@pytest.fixture(scope="module")
def writer(service: ServiceProcess) -> Iterator[httpx.Client]:
    """A client of the service that may write."""
    with client_of(service) as one:
        yield one
