"""The course project's marketplace: its data, its databases, and what its checks are made with."""

from course.marketplace.concurrent_clients import clients_at_once, interrupted, interrupted_writes
from course.marketplace.listing_documents import KINDS, Measure
from course.marketplace.listings import Marketplace, marketplace
from course.marketplace.loading import COLUMNS, lay_out, load_documents, load_rows, load_units
from course.marketplace.outages import within_reach
from course.marketplace.project_databases import fresh_stores, open_project
from course.marketplace.reading import read_details, read_listings, read_units
from helpers.errors import CatalogDownError

__all__ = [
    "COLUMNS",
    "KINDS",
    "CatalogDownError",
    "Marketplace",
    "Measure",
    "clients_at_once",
    "fresh_stores",
    "interrupted",
    "interrupted_writes",
    "lay_out",
    "load_documents",
    "load_rows",
    "load_units",
    "marketplace",
    "open_project",
    "read_details",
    "read_listings",
    "read_units",
    "within_reach",
]
