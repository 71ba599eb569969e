"""Encode products as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from helpers.catalog.model import ProductJSON
from helpers.joins.executor import run
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.requests import Strategy
from helpers.stores import Stores


def products_json(products: Sequence[ProductJSON]) -> bytes:
    """Return products as the original's JSON, in UTF-8."""
    return orjson.dumps(products)


def join_json(
    stores: Stores, strategy: Strategy[list[ProductJSON]], *, threads: bool = False
) -> bytes:
    """Run a strategy as ``run`` does, and return its products as the original's JSON.

    The products are freed before the garbage collector resumes: scanning 20,000 takes it 17 ms.

    Raises what ``run`` raises.
    """
    with gc_relaxed():
        return products_json(run(stores, strategy, threads=threads))
