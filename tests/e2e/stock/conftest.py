"""The shop of the tests of the stock."""

from tests.stock.conftest import clock, shop, stock

__all__ = ["clock", "shop", "stock"]
