"""The join of the three stores, in the application.

Strategies (``strategies``, ``pages``) say what is asked in which order, and nothing of how:
``run`` and ``run_async`` answer them, with the drivers that wait and those that are awaited. The
functions here run them as they are taught; ``served`` has what serves many at a time.
"""

from helpers.joins.async_executor import run_async
from helpers.joins.data_loader import DataLoader
from helpers.joins.executor import run
from helpers.joins.json_encoding import join_json, page_json, products_json
from helpers.joins.page_facets import Values, count_categories, count_values
from helpers.joins.page_plans import JoinPlan, Step, explain_page
from helpers.joins.page_query import Choice, Page, Query
from helpers.joins.plain_joins import at_once, batched, per_product, read_page
from helpers.joins.served import Pages, product_loader
from helpers.joins.single_flight import SingleFlight

__all__ = [
    "Choice",
    "DataLoader",
    "JoinPlan",
    "Page",
    "Pages",
    "Query",
    "SingleFlight",
    "Step",
    "Values",
    "at_once",
    "batched",
    "count_categories",
    "count_values",
    "explain_page",
    "join_json",
    "page_json",
    "per_product",
    "product_loader",
    "products_json",
    "read_page",
    "run",
    "run_async",
]
