"""The shop of the tests of the API."""

from tests.api.conftest import seeded, shop

__all__ = ["seeded", "shop"]
