"""The answer as the bytes that are sent."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from helpers.catalog.model import ProductJSON
from helpers.joins.executor import Fill, run
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.page_query import Page
from helpers.joins.requests import Strategy
from helpers.stores import Stores


def products_json(products: Sequence[ProductJSON]) -> bytes:
    """Return the original's JSON, in UTF-8."""
    return orjson.dumps(products)


def page_json(page: Page) -> bytes:
    """Return a page as JSON, in UTF-8: ``{"products": […], "next": id or null}``."""
    return orjson.dumps({"products": page.products, "next": page.next})


def join_json(
    stores: Stores,
    strategy: Strategy[list[ProductJSON]],
    *,
    threads: bool = False,
    fill: Fill | None = None,
) -> bytes:
    """Run a strategy as ``run`` does, and return the original's JSON of what it returns.

    The products are given back before the garbage collector is let at them: with 20,000, looking
    at them would take it 17 ms.

    Raises what ``run`` raises.
    """
    with gc_relaxed():
        return products_json(run(stores, strategy, threads=threads, fill=fill))
