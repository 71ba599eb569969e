"""The join of the three stores, in the application.

``strategies`` and ``pages`` say which requests a join sends and in which order, ``executor`` runs
them, ``driver_adapters`` sends each request to its store, and ``assembly`` builds the products.
"""

from helpers.joins.assembly import products_json
from helpers.joins.data_loader import DataLoader
from helpers.joins.executor import run, run_async
from helpers.joins.page_facets import count_categories, count_values
from helpers.joins.page_plans import explain_page
from helpers.joins.pages import Query
from helpers.joins.plain_joins import at_once, batched, per_product
from helpers.joins.single_flight import SingleFlight

__all__ = [
    "DataLoader",
    "Query",
    "SingleFlight",
    "at_once",
    "batched",
    "count_categories",
    "count_values",
    "explain_page",
    "per_product",
    "products_json",
    "run",
    "run_async",
]
