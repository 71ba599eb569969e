"""The read model: products joined when they change instead of when they are read.

``views`` writes the joined products to Redis, ``view_worker`` keeps them up to date in the
background, and ``view_cache`` caches them in the process that serves them.
"""

from helpers.read_model.product_changes import set_price
from helpers.read_model.views import ReadModel, read_views

__all__ = ["ReadModel", "read_views", "set_price"]
