"""The course project's marketplace: its data, its databases, and what its checks are made with."""

from helpers.errors import CatalogueAwayError
from helpers.project.away import within_reach
from helpers.project.databases import fresh_stores, open_project
from helpers.project.documents import KINDS, Measure
from helpers.project.layout import COLUMNS, lay_out, load_documents, load_rows, load_units
from helpers.project.marketplace import Marketplace, marketplace
from helpers.project.reading import read_details, read_listings, read_units
from helpers.project.rivals import clients_at_once, interrupted, interrupted_writes

__all__ = [
    "COLUMNS",
    "KINDS",
    "CatalogueAwayError",
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
