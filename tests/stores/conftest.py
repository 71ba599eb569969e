"""A shop that is empty before each test, and proxied stores that a module's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores, proxied
from tests.snapshots import empty_shop


@pytest.fixture
def shop(shared: Stores) -> Stores:
    """The shop's empty tables and collections, and no keys."""
    return empty_shop(shared)


@pytest.fixture(scope="module")
def proxied_stores(shared: Stores) -> Iterator[ProxiedStores]:
    """The proxied stores, for the fixture ``far`` of a module."""
    with proxied(shared) as found:
        yield found
