"""A shop of 40 products, served by a process of its own for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from helpers.faces.background import Served, served
from helpers.shop.schema import drop_shop
from helpers.shop.seed import seed
from helpers.stores import Stores

COUNT = 40


@pytest.fixture(scope="module")
def shop(shared: Stores) -> Iterator[Stores]:
    """Products 1 to 40 with their metadata and stock, the original's three among them."""
    drop_shop(shared)
    shared.redis.flushdb()
    seed(shared, COUNT, orders=False)
    yield shared
    drop_shop(shared)
    shared.redis.flushdb()


@pytest.fixture(scope="module")
def service(shop: Stores) -> Iterator[Served]:
    """The service, with the routes of the lab."""
    with served(shop, "--lab") as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Served) -> Iterator[httpx.Client]:
    """A client of the service that gives no token."""
    with httpx.Client(base_url=service.url, timeout=30) as one:
        yield one


@pytest.fixture(scope="module")
def writer(service: Served) -> Iterator[httpx.Client]:
    """A client of the service that may write."""
    with httpx.Client(base_url=service.url, headers=service.writing, timeout=30) as one:
        yield one
