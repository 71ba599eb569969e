"""The strategies as plain functions, with the drivers that wait: as they are taught."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from helpers.catalog.model import ProductJSON
from helpers.joins import strategies
from helpers.joins.executor import Fill, run
from helpers.joins.page_query import Page, Query
from helpers.joins.pages import find_page
from helpers.stores import Stores


def per_product(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join as the original did: for each product, ask MongoDB, then ask Redis.

    Takes 1 + 2n round trips for n products. ``ids`` are the products wanted (default: all).

    Raises the drivers' errors, and ``MetadataError`` where a product has two documents.
    """
    return run(stores, strategies.per_product(_listed(ids)))


def batched(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join with one question to each store: the rows, then all documents, then all stock.

    Takes 3 round trips for any number of products, as far as their documents fit into the 16 MiB
    of one answer (some 80,000 products; one more for each 16 MiB after that). ``ids`` are the
    products wanted (default: all).

    Raises the drivers' errors, and ``MetadataError`` where a product has two documents.
    """
    return run(stores, strategies.batched(_listed(ids)))


def at_once(stores: Stores, ids: Iterable[int] | None = None) -> list[ProductJSON]:
    """Join with one question to each store, those at once that need not wait for another.

    Takes the same 3 round trips as ``batched``, and the time of the slowest store.

    Raises the drivers' errors, and ``MetadataError`` where a product has two documents.
    """
    return run(stores, strategies.at_once(_listed(ids)), threads=True)


def read_page(stores: Stores, query: Query, *, fill: Fill | None = None) -> Page:
    """Return one page of the products that ``query`` asks for.

    ``fill`` is asked for counts that Redis does not have, such as ``Stock.counts.fill``.

    Raises the drivers' errors, and ``MetadataError`` where a product has two documents.
    """
    return run(stores, find_page(query), threads=True, fill=fill)


def _listed(ids: Iterable[int] | None) -> Sequence[int] | None:
    return None if ids is None else list(dict.fromkeys(ids))
