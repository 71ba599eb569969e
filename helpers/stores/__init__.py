"""The three stores: connections, time limits, circuit breakers, and traces of round trips.

``Stores`` has one connection to each store, for a notebook or a script. ``PooledStores`` is for
threads, ``AsyncStores`` for an event loop.
"""

from helpers.stores.circuit_breaker import STATES as BREAKER_STATES
from helpers.stores.circuit_breaker import TRANSITIONS as BREAKER_TRANSITIONS
from helpers.stores.command_counts import count_commands
from helpers.stores.connect import Document, connect_redis
from helpers.stores.proxied_stores import proxied
from helpers.stores.stores import Stores, connect_all
from helpers.stores.tracing import traced

__all__ = [
    "BREAKER_STATES",
    "BREAKER_TRANSITIONS",
    "Document",
    "Stores",
    "connect_all",
    "connect_redis",
    "count_commands",
    "proxied",
    "traced",
]
