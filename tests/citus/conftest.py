"""The seeded shop of the tests of the stores."""

from tests.stores.conftest import shop

__all__ = ["shop"]
