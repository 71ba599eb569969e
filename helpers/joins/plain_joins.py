"""The strategies as plain functions over blocking drivers, as the lessons use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from helpers.catalog.model import ProductJSON
from helpers.joins import strategies
from helpers.joins.executor import run
from helpers.stores import Stores


def per_product(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join as the original did: for each product, one query to MongoDB and one to Redis.

    Takes 1 + 2n round trips for n products. ``ids`` selects the products (default: all).

    Raises the drivers' errors, and ``MetadataError`` if a product has two documents.
    """
    return run(stores, strategies.per_product(_unique(ids)))


def batched(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join with one query to each store: the rows, then all documents, then all stock counts.

    Takes 3 round trips for any number of products, if their documents fit into the 16 MiB of one
    reply (some 80,000 products; each further 16 MiB takes one more). ``ids`` selects the products
    (default: all).

    Raises the drivers' errors, and ``MetadataError`` if a product has two documents.
    """
    return run(stores, strategies.batched(_unique(ids)))


def at_once(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join with one query to each store, concurrently unless one needs the result of another.

    Takes the same 3 round trips as ``batched``, but only the time of the slowest store.

    Raises the drivers' errors, and ``MetadataError`` if a product has two documents.
    """
    return run(stores, strategies.at_once(_unique(ids)), threads=True)


def _unique(ids: Iterable[int] | None) -> Sequence[int] | None:
    return None if ids is None else list(dict.fromkeys(ids))
