"""Assertions that ledger, counts and reservations agree, read with queries of their own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg
import redis


def on_hand(connection: psycopg.Connection) -> Counter[int]:
    rows = connection.execute(
        "SELECT product_id, sum(quantity)::bigint FROM stock_movements GROUP BY product_id"
    )
    return Counter(dict(rows.fetchall()))


def sold(connection: psycopg.Connection) -> Counter[int]:
    rows = connection.execute(
        "SELECT product_id, -sum(quantity)::bigint FROM stock_movements WHERE reason = 'sale' "
        "GROUP BY product_id"
    )
    return Counter(dict(rows.fetchall()))


def reservations(client: redis.Redis) -> dict[str, tuple[str, Counter[int]]]:
    """Return state and items of every reservation in Redis, by token."""
    found = {}
    for key in client.scan_iter(match="shop:reservation:*"):
        state, _, items = str(client.get(key)).split(" ")
        pairs = (pair.split(":") for pair in items.split(","))
        units = Counter({int(product): int(count) for product, count in pairs})
        found[key.removeprefix("shop:reservation:")] = (state, units)
    return found


def assert_agreement(connection: psycopg.Connection, client: redis.Redis) -> None:
    """Assert that each count is on hand minus reserved, and nothing on hand is below zero."""
    reserved: Counter[int] = Counter()
    for state, units in reservations(client).values():
        if state in ("reserved", "confirming"):
            reserved += units
    counts: dict[int, Any] = {
        int(key.removeprefix("stock:")): int(client.get(key) or "")
        for key in client.scan_iter(match="stock:*")
    }
    ledger = on_hand(connection)
    assert min(ledger.values()) >= 0
    assert counts == {
        product_id: units - reserved[product_id] for product_id, units in ledger.items()
    }
    for kind in ("reserved", "confirming"):
        written: Counter[int] = Counter()
        for key in client.scan_iter(match=f"shop:{kind}:*"):
            entries = client.hvals(key)
            written[int(key.rpartition(":")[2])] += sum(int(units) for units in entries)
        expected: Counter[int] = Counter()
        for state, units in reservations(client).values():
            if state == kind:
                expected += units
        assert written == expected
