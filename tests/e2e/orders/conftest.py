"""The shop of the tests of the orders."""

from tests.orders.conftest import beside, orders, sealed, shop

__all__ = ["beside", "orders", "sealed", "shop"]
