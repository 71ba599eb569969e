"""The tested module behind the notebooks: a shop whose data live in three stores at once.

Inside, the arrows run one way: settings → servers (our own) → stores (connections) → shop (seed,
join) → faces (command line, plots). A notebook needs the names below, and plots from
``helpers.faces.plots``.
"""

from helpers.errors import CatalogError, CourseError, ServerError, SettingsError, StoreError
from helpers.shop.join import batched, per_product
from helpers.shop.seed import load, seed
from helpers.stores import Stores, open_lesson, open_shop
from helpers.stores.engines import describe_stores

__all__ = [
    "CatalogError",
    "CourseError",
    "ServerError",
    "SettingsError",
    "StoreError",
    "Stores",
    "batched",
    "describe_stores",
    "load",
    "open_lesson",
    "open_shop",
    "per_product",
    "seed",
]
