"""The three stores: connections, time limits, circuit breakers, and traces of round trips.

``Stores`` has one connection to each store, for a notebook or a script. ``PooledStores`` is for
threads, ``AsyncStores`` for an event loop. A name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from helpers.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from helpers.stores.connect import Document, connect_redis
    from helpers.stores.proxied_stores import proxied
    from helpers.stores.stores import Stores, connect_all
    from helpers.stores.tracing import count_commands, traced

_MODULE_OF = {
    "Document": "connect",
    "Stores": "stores",
    "connect_all": "stores",
    "connect_redis": "connect",
    "count_commands": "tracing",
    "proxied": "proxied_stores",
    "traced": "tracing",
}

__all__ = [
    "Document",
    "Stores",
    "connect_all",
    "connect_redis",
    "count_commands",
    "proxied",
    "traced",
]

__getattr__ = lazy_getattr(__name__, _MODULE_OF)
