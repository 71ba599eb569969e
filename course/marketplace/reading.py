"""One question to each store, for the task whose subject is what to do when a store is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymongo

from helpers.stores import Stores

#: After its connections are lost, PyMongo looks for its server this long at most.
_SECONDS = 1.0


def read_listings(stores: Stores, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Ask PostgreSQL for titles and prices; ids that are not there are left out.

    Raises ``psycopg.OperationalError`` where it does not answer.
    """
    rows = stores.postgres.execute(
        "SELECT listing_id, title, price FROM listings WHERE listing_id = ANY(%s)", [list(ids)]
    )
    return {one: {"title": title, "price": price} for one, title, price in rows.fetchall()}


def read_details(stores: Stores, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Ask MongoDB for the details; ids that have no document are left out.

    Raises ``pymongo.errors.ConnectionFailure`` where it does not answer.
    """
    with pymongo.timeout(_SECONDS):
        found = stores.mongo.listings.find(
            {"listing_id": {"$in": list(ids)}}, {"_id": 0, "listing_id": 1, "details": 1}
        )
        return {document["listing_id"]: document["details"] for document in found}


def read_units(stores: Stores, ids: Sequence[int]) -> dict[int, int]:
    """Ask Redis for the counts of units; ids that have no count are left out.

    Raises ``redis.ConnectionError`` or ``redis.TimeoutError`` where it does not answer, and
    ``ValueError`` where a count is no number.
    """
    counts: Any = stores.redis.mget([f"units:{one}" for one in ids])
    return {one: int(count) for one, count in zip(ids, counts, strict=True) if count is not None}
