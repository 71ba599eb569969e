"""An empty shop."""

from tests.stores.conftest import shop

__all__ = ["shop"]
