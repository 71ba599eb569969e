"""The empty shop of the store tests."""

from tests.stores.conftest import shop

__all__ = ["shop"]
