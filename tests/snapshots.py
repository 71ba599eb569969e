"""Fill a shop once per process, and restore it from a snapshot before each test.

Creating the shop's tables on the cluster takes a hundred times as long as deleting their rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from helpers.metadata.collection_schema import COLLECTION, prepare_metadata
from helpers.orders.outbox import prepare_sales
from helpers.shop.schema import create_shop, drop_shop
from helpers.stores import Document, Stores
from helpers.stores.connect import REDIS_MARKER
from helpers.stores.ownership import MONGO_MARKER

_TABLES = ("order_outbox", "order_keys", "orders", "stock_movements", "categories", "products")
_ALL_EXIST = "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s::text[]) AS name"
_EMPTY = "".join(f"DELETE FROM {name};" for name in _TABLES) + "ALTER SEQUENCE order_ids RESTART"

Fill = Callable[[Stores], object]


@dataclass(frozen=True)
class _Snapshot:
    """The contents of the stores; of Redis, the result of DUMP for each key."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    documents: dict[str, list[Document]] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)


_snapshots: dict[Fill, _Snapshot] = {}


def filled_shop(stores: Stores, fill: Fill) -> Stores:
    """Restore the stores to what ``fill`` writes into an empty shop.

    ``fill`` is called once per process; later calls restore its rows, documents and keys.
    """
    empty_shop(stores)
    if fill in _snapshots:
        _restore(stores, _snapshots[fill])
    else:
        fill(stores)
        _snapshots[fill] = _take(stores)
    return stores


def empty_shop(stores: Stores) -> Stores:
    """Delete all rows, documents and keys of the shop.

    Its tables, collections and indexes are created if they do not exist.
    """
    names = [*_TABLES, "order_ids"]
    if stores.postgres.execute(_ALL_EXIST, [names]).fetchone() != (True,):
        drop_shop(stores)  # a test may have dropped or changed some of them
        create_shop(stores)
    stores.postgres.execute(_EMPTY)
    existing = set(stores.mongo.list_collection_names()) - {MONGO_MARKER}
    for name in existing:
        stores.mongo[name].delete_many({})
    if COLLECTION not in existing:
        prepare_metadata(stores.mongo)
    if "purchases" not in existing:
        prepare_sales(stores.mongo)
    stores.redis.flushdb()
    return stores


def _take(stores: Stores) -> _Snapshot:
    tables = {name: stores.postgres.execute(f"TABLE {name}").fetchall() for name in _TABLES}
    names = set(stores.mongo.list_collection_names()) - {MONGO_MARKER}
    collections = {name: list(stores.mongo[name].find()) for name in names}
    return _Snapshot(
        {name: rows for name, rows in tables.items() if rows},
        {name: documents for name, documents in collections.items() if documents},
        {
            key: stores.redis.dump(key)
            for key in stores.redis.scan_iter(count=1000)
            if key != REDIS_MARKER
        },
    )


def _restore(stores: Stores, snapshot: _Snapshot) -> None:
    with stores.postgres.cursor() as cursor:
        for name, rows in snapshot.rows.items():
            into = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))
            with cursor.copy(into) as copy:
                for row in rows:
                    copy.write_row(row)
    for name, documents in snapshot.documents.items():
        stores.mongo[name].insert_many([dict(document) for document in documents])
    if snapshot.keys:
        with stores.redis.pipeline(transaction=False) as pipeline:
            for key, value in snapshot.keys.items():
                pipeline.restore(key, 0, value)
            pipeline.execute()
