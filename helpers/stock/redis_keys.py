"""The names of all keys that hold the stock in Redis.

``stock:<id>`` holds a product's stock count. All other keys begin with ``shop:``, so that ``SCAN``
with the pattern ``stock:*`` returns stock counts only. A script reads and writes several of these
keys, so they must be on one server; they cannot be spread over a Redis Cluster.
"""

from __future__ import annotations

#: The pattern of every key except the stock counts.
OWN_KEYS = "shop:*"

#: Sorted set: the tokens of reserved reservations, by their deadline (ms since 1970).
DEADLINES = "shop:reservations:deadlines"

#: Sorted set: the tokens of confirming reservations, by the time when that began (ms since 1970).
CONFIRMATIONS = "shop:reservations:confirmations"

#: Stream: the products whose stock counts changed.
CHANGES = "shop:stock-changes"

#: How long Redis keeps a reservation that has ended, and the number of an order being placed.
REMEMBER_MILLISECONDS = 3600 * 1000


def reservation_key(token: str) -> str:
    """Return the key of a reservation, a string: its state, deadline and items."""
    return f"shop:reservation:{token}"


def reserved_key(product_id: int) -> str:
    """Return the key of the units of a product that are reserved, a hash: token → units."""
    return f"shop:reserved:{product_id}"


def confirming_key(product_id: int) -> str:
    """Return the key of the units of a product being confirmed, a hash: token → units."""
    return f"shop:confirming:{product_id}"


def lease_key(product_id: int) -> str:
    """Return the key of the lease to read a product in the ledger: the name of its holder."""
    return f"shop:lease:{product_id}"


def position_key(reader: str) -> str:
    """Return the key of a stream reader's position: the id of the last entry it has processed."""
    return f"shop:stock-changes:position:{reader}"
