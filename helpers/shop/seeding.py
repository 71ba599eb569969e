"""Load products into the three stores: write only what differs from what is stored.

So loading again writes nothing, and it completes a load that was interrupted and repairs products
that were changed. Each store is written in the fastest way: COPY, bulk writes, scripts.

PostgreSQL is written last, in one transaction. A product exists once it is in PostgreSQL, and then
it has its metadata and its stock already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from psycopg import Cursor
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.collection import Collection
from pymongo.database import Database

from helpers.catalog import generator
from helpers.catalog.categories import department
from helpers.catalog.model import Order, Product, price_text
from helpers.metadata.collection_schema import prepare_metadata
from helpers.orders.outbox import PURCHASES, prepare_sales
from helpers.orders.sales import add_sales
from helpers.shop.schema import create_shop
from helpers.stock import Stock
from helpers.stores import Document, Stores

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

#: Called with what is being loaded (``"MongoDB"``, …), how many more records are done, and the
#: total; for progress bars.
Progress = Callable[[str, int, int], None]

_BATCH = 1000
_MANY = 5000  # so many documents are loaded into an empty collection without its indexes
_ORDERS_PER_PRODUCT = 3
_CUSTOMERS_PER_PRODUCT = 0.5


@dataclass
class Changes:
    """How many records were written, of each kind."""

    products: int = 0
    metadata: int = 0
    stock: int = 0
    orders: int = 0

    @property
    def total(self) -> int:
        return self.products + self.metadata + self.stock + self.orders


def seed(
    stores: Stores, count: int, *, orders: bool = True, progress: Progress | None = None
) -> Changes:
    """Load the generated products 1 to ``count`` and their orders; leave other products unchanged.

    The sales in MongoDB then include these orders: they have no rows in the outbox.

    Raises ``psycopg.Error``, ``pymongo.errors.PyMongoError`` or ``redis.RedisError`` if a store
    fails; call it again to complete the load.
    """
    create_shop(stores)
    # The generator's metadata is valid (a test checks it), so MongoDB need not validate it again.
    changes = _load(stores, list(generator.products(count)), progress, validated=True)
    if orders:
        generated = generator.orders(
            count * _ORDERS_PER_PRODUCT,
            product_count=count,
            customer_count=max(1, int(count * _CUSTOMERS_PER_PRODUCT)),
        )
        report = progress or _ignore_progress
        changes.orders = _load_orders(stores, list(generated) if count else [], report)
        with _deferred_indexes(
            stores.mongo.get_collection(PURCHASES), count * _ORDERS_PER_PRODUCT, prepare_sales
        ):
            add_sales(stores, lambda done, total: report("sales", done, total))
    return changes


def load(
    stores: Stores, products: Sequence[Product], *, progress: Progress | None = None
) -> Changes:
    """Load ``products``, replacing those with the same ids; leave other products unchanged.

    Raises the drivers' errors as ``seed`` does.
    """
    create_shop(stores)
    return _load(stores, products, progress, validated=False)


def _load(
    stores: Stores, products: Sequence[Product], progress: Progress | None, *, validated: bool
) -> Changes:
    report = progress or _ignore_progress
    metadata = stores.mongo.productmetas
    with _deferred_indexes(metadata, len(products), prepare_metadata, keep="product_id_1"):
        documents = _load_metadata(metadata, products, report, validated=validated)
    return Changes(
        metadata=documents,
        stock=_load_stock(stores, products, report),
        products=_load_products(stores, products, report),
    )


@dataclass(frozen=True)
class _Difference(Generic[K, V]):
    """The writes that turn the stored values into the target values (``None``: no value)."""

    missing: dict[K, V]
    different: dict[K, V]
    superfluous: list[K]

    @property
    def total(self) -> int:
        return len(self.missing) + len(self.different) + len(self.superfluous)


def _compare(target: Mapping[K, V | None], stored: Mapping[K, V]) -> _Difference[K, V]:
    values = {key: value for key, value in target.items() if value is not None}
    return _Difference(
        missing={key: value for key, value in values.items() if key not in stored},
        # By their ``repr``: 1, 1.0 and True are equal in Python, but not in the stores.
        different={
            key: value
            for key, value in values.items()
            if key in stored and repr(stored[key]) != repr(value)
        },
        superfluous=[key for key in target if key not in values and key in stored],
    )


@contextmanager
def _deferred_indexes(
    collection: Collection[Document],
    count: int,
    prepare: Callable[[Database[Document]], None],
    *,
    keep: str = "_id_",
) -> Iterator[None]:
    """Load ``count`` documents into an empty collection first, and then build its indexes.

    Building an index once is faster than updating it with each document. If the load is
    interrupted, the next one builds the indexes. A unique index is kept (``keep``), because another
    program may load the same documents.
    """
    if count < _MANY or collection.find_one({}, {"_id": 1}) is not None:
        yield
        return
    for index in collection.index_information().keys() - {"_id_", keep}:
        collection.drop_index(index)
    try:
        yield
    finally:
        prepare(collection.database)


def _load_metadata(
    collection: Collection[Document],
    products: Sequence[Product],
    report: Progress,
    *,
    validated: bool,
) -> int:
    written = 0
    for batch in _batches(products):
        target = {p.id: p.metadata for p in batch}
        ids = [p.id for p in batch]
        # A range, because a list of a thousand ids is slow on the embedded server.
        found = collection.find({"product_id": {"$gte": min(ids), "$lte": max(ids)}}, {"_id": 0})
        stored = {document.pop("product_id"): document for document in found}
        difference = _compare(target, stored)
        if difference.total:
            collection.bulk_write(
                [
                    *(InsertOne({"product_id": i, **m}) for i, m in difference.missing.items()),
                    *(
                        ReplaceOne({"product_id": i}, {"product_id": i, **m})
                        for i, m in difference.different.items()
                    ),
                    *(DeleteOne({"product_id": i}) for i in difference.superfluous),
                ],
                ordered=False,
                bypass_document_validation=validated,
            )
        written += difference.total
        report("MongoDB", len(batch), len(products))
    return written


def _load_stock(stores: Stores, products: Sequence[Product], report: Progress) -> int:
    """Set the units on hand in the ledger, then rebuild the stock counts in Redis from it."""
    stock = Stock.of(stores)
    written = 0
    for batch in _batches(products, size=10 * _BATCH):
        target = {product.id: product.stock for product in batch}
        changed = stock.ledger.set_on_hand(target)
        changed |= {difference.product_id for difference in stock.refresh(target)}
        written += len(changed)
        report("Redis", len(batch), len(products))
    return written


def _load_products(stores: Stores, products: Sequence[Product], report: Progress) -> int:
    written = 0
    categories = {product.category for product in products}
    with stores.postgres.transaction(), stores.postgres.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO categories VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [(category, department(category)) for category in sorted(categories)],
        )
        for batch in _batches(products):
            cursor.execute(
                "SELECT id, name, price, category FROM products WHERE id = ANY(%s)",
                [[p.id for p in batch]],
            )
            stored = {row[0]: row[1:] for row in cursor}
            difference = _compare(
                {p.id: (p.name, price_text(p.price), p.category) for p in batch},
                {
                    key: (name, price_text(price), category)
                    for key, (name, price, category) in stored.items()
                },
            )
            _copy(
                cursor,
                "COPY products (id, name, price, category) FROM STDIN",
                ((key, *row) for key, row in difference.missing.items()),
            )
            cursor.executemany(
                "UPDATE products SET name = %s, price = %s::numeric, category = %s WHERE id = %s",
                [(*row, key) for key, row in difference.different.items()],
            )
            written += difference.total
            report("PostgreSQL", len(batch), len(products))
    return written


def _load_orders(stores: Stores, orders: Sequence[Order], report: Progress) -> int:
    written = 0
    with stores.postgres.transaction(), stores.postgres.cursor() as cursor:
        for batch in _batches(orders, size=10 * _BATCH):
            cursor.execute(
                "SELECT product_id, id FROM orders WHERE product_id = ANY(%s) AND id = ANY(%s)",
                [sorted({o.product_id for o in batch}), [o.id for o in batch]],
            )
            stored = set(cursor)
            missing = [o for o in batch if (o.product_id, o.id) not in stored]
            _copy(
                cursor,
                "COPY orders (id, product_id, customer_id, quantity, order_date) FROM STDIN",
                ((o.id, o.product_id, o.customer_id, o.quantity, o.order_date) for o in missing),
            )
            written += len(missing)
            report("orders", len(batch), len(orders))
    return written


def _ignore_progress(_what: str, _done: int, _total: int) -> None:
    """Do nothing: no one shows the progress."""


def _copy(cursor: Cursor[Any], statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
    first = list(islice(rows, 1))
    if first:
        with cursor.copy(statement) as copy:
            for row in (*first, *rows):
                copy.write_row(row)


def _batches(items: Sequence[T], size: int = _BATCH) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
