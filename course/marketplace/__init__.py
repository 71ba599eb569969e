"""The course project's marketplace: its data, its databases, and the tools of its tests."""

from course.marketplace.concurrent_clients import (
    every_interleaving,
    interleave,
    interleave_before_write,
    run_concurrently,
)
from course.marketplace.listing_documents import KINDS, Measure
from course.marketplace.listings import Marketplace, marketplace
from course.marketplace.loading import (
    COLUMNS,
    load_documents,
    load_marketplace,
    load_rows,
    load_units,
)
from course.marketplace.outages import count_round_trips, proxied_with_timeouts
from course.marketplace.project_databases import fresh_stores, open_project
from course.marketplace.reading import read_details, read_listings, read_units
from helpers.errors import CatalogDownError

__all__ = [
    "COLUMNS",
    "KINDS",
    "CatalogDownError",
    "Marketplace",
    "Measure",
    "count_round_trips",
    "every_interleaving",
    "fresh_stores",
    "interleave",
    "interleave_before_write",
    "load_documents",
    "load_marketplace",
    "load_rows",
    "load_units",
    "marketplace",
    "open_project",
    "proxied_with_timeouts",
    "read_details",
    "read_listings",
    "read_units",
    "run_concurrently",
]
