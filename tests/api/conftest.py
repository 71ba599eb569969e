"""A shop of 40 products and a service in a thread, shared by all modules of this folder.

Orders and stock are restored after each module.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from helpers.lab.background_programs import ServiceProcess
from helpers.shop.schema import drop_shop
from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores, Proxies, proxied
from tests.api.serving import client_of, serving

COUNT = 40
#: The deadline of services that connect through proxies, in seconds.
PROXIED_DEADLINE = 3.0
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
    """The seeded shop, restored after the module."""
    yield seeded
    for table in _WRITTEN:
        _delete_rows(seeded, table)
    seeded.redis.flushdb()
    seed(seeded, COUNT, orders=False)


def _delete_rows(stores: Stores, table: str) -> None:
    while True:
        try:
            stores.postgres.execute(f"DELETE FROM {table}")
        except psycopg.errors.SerializationFailure:
            continue  # the service has just relayed, and deleted, some of them
        return


@pytest.fixture(scope="package")
def shared_service(seeded: Stores) -> Iterator[ServiceProcess]:
    with serving(seeded, lab=True) as running:
        yield running


@pytest.fixture(scope="package")
def proxied_shop(seeded: Stores) -> Iterator[ProxiedStores]:
    """The same databases through proxies that can be cut and frozen."""
    with proxied(seeded) as stores:
        yield stores


@pytest.fixture(scope="package")
def without_breakers(proxied_shop: ProxiedStores) -> Iterator[httpx.Client]:
    """A client of a service without circuit breakers, which connects through proxies."""
    proxied_shop.proxies.restore()
    with (
        serving(proxied_shop, breaker=False, deadline=PROXIED_DEADLINE) as running,
        client_of(running) as client,
    ):
        yield client


@pytest.fixture
def proxies(proxied_shop: ProxiedStores) -> Iterator[Proxies]:
    """The proxies, working normally before and after the test."""
    proxied_shop.proxies.restore()
    yield proxied_shop.proxies
    proxied_shop.proxies.restore()


@pytest.fixture(scope="module")
def service(shop: Stores, shared_service: ServiceProcess) -> ServiceProcess:
    """The service, with the lab's routes."""
    return shared_service


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    """A client of the service without the token."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def writer(service: ServiceProcess) -> Iterator[httpx.Client]:
    """A client of the service with the token."""
    with client_of(service) as client:
        yield client
