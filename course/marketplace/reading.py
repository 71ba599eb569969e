"""Read from each store with one query, for the task about unavailable stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymongo

from helpers.stores import Stores

#: How long PyMongo tries to find its server after its connections are lost.
_SECONDS = 1.0


def read_listings(stores: Stores, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Ask PostgreSQL for titles and prices; ids that are not there are left out.

    Raises ``psycopg.OperationalError`` if it does not respond.
    """
    rows = stores.postgres.execute(
        "SELECT listing_id, title, price FROM listings WHERE listing_id = ANY(%s)", [list(ids)]
    )
    return {
        listing_id: {"title": title, "price": price} for listing_id, title, price in rows.fetchall()
    }


def read_details(stores: Stores, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Ask MongoDB for the details; ids that have no document are left out.

    Raises ``pymongo.errors.ConnectionFailure`` if it does not respond.
    """
    with pymongo.timeout(_SECONDS):
        found = stores.mongo.listings.find(
            {"listing_id": {"$in": list(ids)}}, {"_id": 0, "listing_id": 1, "details": 1}
        )
        return {document["listing_id"]: document["details"] for document in found}


def read_units(stores: Stores, ids: Sequence[int]) -> dict[int, int]:
    """Ask Redis for the counts of units; ids that have no count are left out.

    Raises ``redis.ConnectionError`` or ``redis.TimeoutError`` if it does not respond, and
    ``ValueError`` if a count is not a number.
    """
    counts: Any = stores.redis.mget([f"units:{listing_id}" for listing_id in ids])
    return {
        listing_id: int(count)
        for listing_id, count in zip(ids, counts, strict=True)
        if count is not None
    }
