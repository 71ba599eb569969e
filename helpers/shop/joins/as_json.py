"""The answer as the bytes that are sent."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from helpers.shop.joins.query import Page
from helpers.shop.model import ProductJSON


def products_json(products: Sequence[ProductJSON]) -> bytes:
    """Return the original's JSON, in UTF-8."""
    return orjson.dumps(products)


def page_json(page: Page) -> bytes:
    """Return a page as JSON, in UTF-8: ``{"products": […], "next": id or null}``."""
    return orjson.dumps({"products": page.products, "next": page.next})
