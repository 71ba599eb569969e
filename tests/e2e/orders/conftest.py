"""The shop of the tests of the orders."""

from tests.orders.conftest import connect_again, orders, shop, unusable_orders

__all__ = ["connect_again", "orders", "shop", "unusable_orders"]
