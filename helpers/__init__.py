"""The tested package behind the notebooks: a shop that keeps its data in three stores at once.

Import from here what every lesson uses, plots from ``helpers.plots``, experiments from
``helpers.lab``, and a topic from its package: ``from helpers.stock import Stock``. Packages import
one way only::

    errors, settings, validation → embedded, proxy → stores → citus, catalog → metadata → stock
    → orders → joins → read_model → shop → faults → lab → api, plots → cli

All names but the errors are imported when they are first used (PEP 562), so that ``import
helpers`` costs little.
"""

from typing import TYPE_CHECKING

from helpers.errors import (
    CatalogError,
    CourseError,
    FaultError,
    LoadError,
    MetadataError,
    ProxyError,
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
from helpers.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from helpers.citus import QueryPlan, Shard, explain, shards_of
    from helpers.faults import inject_faults
    from helpers.joins import batched, per_product
    from helpers.metadata import DocumentPlan, explain_find
    from helpers.shop import describe_stores, open_lesson, open_shop, start_worker
    from helpers.shop.seeding import load, seed
    from helpers.stores import Stores, count_commands, proxied, traced

_MODULE_OF = {
    "DocumentPlan": "metadata",
    "QueryPlan": "citus",
    "Shard": "citus",
    "Stores": "stores",
    "batched": "joins",
    "count_commands": "stores",
    "describe_stores": "shop",
    "explain": "citus",
    "explain_find": "metadata",
    "inject_faults": "faults",
    "load": "shop",
    "open_lesson": "shop",
    "open_shop": "shop",
    "per_product": "joins",
    "proxied": "stores",
    "seed": "shop",
    "shards_of": "citus",
    "start_worker": "shop",
    "traced": "stores",
}

__all__ = [
    "CatalogError",
    "CourseError",
    "DocumentPlan",
    "FaultError",
    "LoadError",
    "MetadataError",
    "ProxyError",
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
    "inject_faults",
    "load",
    "open_lesson",
    "open_shop",
    "per_product",
    "proxied",
    "seed",
    "shards_of",
    "start_worker",
    "traced",
]


__getattr__ = lazy_getattr(__name__, _MODULE_OF)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
