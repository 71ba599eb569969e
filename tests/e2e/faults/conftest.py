"""The shop of the orders' tests, for those whose placing crashes."""

from tests.orders.conftest import orders, shop

__all__ = ["orders", "shop"]
