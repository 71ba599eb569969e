"""A shop that is emptied before each test, and stores behind links that a module's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores, proxied
from tests.snapshots import empty_shop


@pytest.fixture
def shop(shared: Stores) -> Stores:
    """The shop's tables and collections, with nothing in them, and no keys."""
    return empty_shop(shared)


@pytest.fixture(scope="module")
def proxied_stores(shared: Stores) -> Iterator[ProxiedStores]:
    """The stores behind links, for the fixture ``far`` of a module."""
    with proxied(shared) as found:
        yield found
