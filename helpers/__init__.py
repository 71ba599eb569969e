"""The tested module behind the notebooks: a shop whose data live in three stores at once.

Inside, the arrows run one way: settings → servers (our own), network (links) → stores (connections)
→ shop (seed, join, orders) → drills (servers that fail), project (the course project's data) →
faces (API, command line, plots) → bench, grading, authoring. A notebook needs the names below, and
plots from ``helpers.faces.plots``; the course project, those of ``helpers.project``.
"""

from helpers.drills import practice
from helpers.errors import (
    CatalogError,
    CourseError,
    DrillError,
    LinkError,
    LoadError,
    MetadataError,
    QueryError,
    ReadModelError,
    ReservationError,
    ServerError,
    SettingsError,
    SoldOutError,
    StockError,
    StoreError,
    UnknownProductError,
)
from helpers.shop.joins import batched, per_product
from helpers.shop.seed import load, seed
from helpers.stores import Stores, open_lesson, open_shop, start_worker
from helpers.stores.commands import count_commands
from helpers.stores.document_plans import DocumentPlan, explain_find
from helpers.stores.engines import describe_stores
from helpers.stores.linked import linked
from helpers.stores.plans import QueryPlan, explain
from helpers.stores.shards import Shard, shards_of
from helpers.stores.tracing import traced

__all__ = [
    "CatalogError",
    "CourseError",
    "DocumentPlan",
    "DrillError",
    "LinkError",
    "LoadError",
    "MetadataError",
    "QueryError",
    "QueryPlan",
    "ReadModelError",
    "ReservationError",
    "ServerError",
    "SettingsError",
    "Shard",
    "SoldOutError",
    "StockError",
    "StoreError",
    "Stores",
    "UnknownProductError",
    "batched",
    "count_commands",
    "describe_stores",
    "explain",
    "explain_find",
    "linked",
    "load",
    "open_lesson",
    "open_shop",
    "per_product",
    "practice",
    "seed",
    "shards_of",
    "start_worker",
    "traced",
]
