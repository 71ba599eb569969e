"""The shop's tables and collections, created once per process and emptied before each test."""

from __future__ import annotations

import pytest

from helpers.stores import Stores
from tests.snapshots import empty_shop


@pytest.fixture
def stores(shared: Stores) -> Stores:
    """Empty tables and collections of the shop, and no keys."""
    return empty_shop(shared)
