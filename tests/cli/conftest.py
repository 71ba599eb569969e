"""The empty shop of ``tests/stores``."""

from tests.stores.conftest import shop

__all__ = ["shop"]
