"""What the databases of a shop hold, without the markers of ownership."""

from __future__ import annotations

from helpers.stock.redis_strings import as_string
from helpers.stores import Stores
from helpers.stores.connect import REDIS_MARKER
from helpers.stores.ownership import MONGO_MARKER


def keys_of(stores: Stores) -> list[str]:
    """Return the keys of the logical database in Redis."""
    return sorted({as_string(key) for key in stores.redis.keys("*")} - {REDIS_MARKER})


def collections_of(stores: Stores) -> list[str]:
    """Return the names of the collections in MongoDB."""
    return sorted(set(stores.mongo.list_collection_names()) - {MONGO_MARKER})
