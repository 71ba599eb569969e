"""The keys of the stock in Redis.

``stock:<id>`` is the original's. All others begin with ``shop:``, so that whoever lists
``stock:*`` finds counts and nothing else. A script touches several of them at once: they belong on
one server, not on a Redis Cluster.
"""

from __future__ import annotations

#: Every key of the stock but the counts themselves.
OWN_KEYS = "shop:*"

#: Sorted set: the reservations that are held, by their deadline.
DEADLINES = "shop:reservations:deadlines"

#: Sorted set: the reservations that are being confirmed, by the time when that began.
CLAIMS = "shop:reservations:claims"

#: Stream: which products' counts changed, one after another.
CHANGES = "shop:stock-changes"

#: How long a reservation is remembered that has ended, and what else belongs to one request.
REMEMBER_MILLISECONDS = 3600 * 1000


def reservation_key(token: str) -> str:
    """Return the key of a reservation, a hash: its state, deadline and items."""
    return f"shop:reservation:{token}"


def held_key(product_id: int) -> str:
    """Return the key of what is held of a product, a hash: token → quantity."""
    return f"shop:held:{product_id}"


def claimed_key(product_id: int) -> str:
    """Return the key of what is being confirmed of a product, a hash: token → quantity."""
    return f"shop:claimed:{product_id}"


def lease_key(product_id: int) -> str:
    """Return the key of the lease to read a product in the ledger: who has it."""
    return f"shop:lease:{product_id}"


def position_key(reader: str) -> str:
    """Return the key of how far a reader of the stream has come: the last entry it has handled."""
    return f"shop:stock-changes:position:{reader}"
