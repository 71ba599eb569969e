"""The fixtures of the order tests, for orders that crash."""

from tests.orders.conftest import orders, shop

__all__ = ["orders", "shop"]
