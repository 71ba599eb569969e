"""Create and drop the shop: its tables, collections and keys in the three stores."""

from __future__ import annotations

from helpers.catalog.model import stock_key
from helpers.metadata.collection_schema import prepare_metadata
from helpers.orders import outbox
from helpers.orders.order_rows import DISTRIBUTE_KEYS, FIRST_ORDER, KEYS_TABLE
from helpers.stock import ledger
from helpers.stock.redis_keys import OWN_KEYS
from helpers.stores import Stores
from helpers.stores.ownership import claim

# Few enough shards to list in a lesson, and more than there are workers.
SHARDS = 8

_TABLES = """
CREATE TABLE products (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    price numeric NOT NULL CHECK (price >= 0),
    category text NOT NULL
);
CREATE TABLE orders (
    id bigint NOT NULL,
    product_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    quantity int NOT NULL CHECK (quantity > 0),
    order_date timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (product_id, id)
);
CREATE TABLE categories (
    category text PRIMARY KEY,
    department text NOT NULL
);
"""

# A sequence on the coordinator: its ids are unique over all shards.
_ORDER_IDS = f"""
CREATE SEQUENCE IF NOT EXISTS order_ids
    MINVALUE {FIRST_ORDER} MAXVALUE {2**53 - 1} START {FIRST_ORDER}
"""

# Orders are on the node of their product, categories on every node: both joins are local.
_DISTRIBUTE = (
    f"SELECT create_distributed_table('products', 'id', shard_count => {SHARDS})",
    "SELECT create_distributed_table('orders', 'product_id', colocate_with => 'products')",
    "SELECT create_reference_table('categories')",
)

# Tables that a shop created by an earlier version may not have.
_ADDED = (
    ("stock_movements", ledger.TABLE, ledger.DISTRIBUTE),
    ("order_keys", KEYS_TABLE, DISTRIBUTE_KEYS),
    ("order_outbox", outbox.TABLE, outbox.DISTRIBUTE),
)

_TABLE_NAMES = (*(name for name, _, _ in _ADDED), "orders", "products", "categories")
_BATCH = 1000


def create_shop(stores: Stores) -> None:
    """Create the shop's tables and collections that do not exist; distribute the tables.

    Products are distributed by id. Orders, their idempotency keys, their outbox and the stock
    ledger are distributed by product and colocated with the products. Categories are a reference
    table. The sequence ``order_ids`` numbers new orders.

    Raises ``ForeignDataError`` if the servers were given by address and a database has data that
    the course did not create.
    """
    claim(stores)
    with stores.postgres.transaction():
        # If two processes created the same table at once, one would fail: so they take turns.
        stores.postgres.execute("SELECT pg_advisory_xact_lock(hashtext('create_shop'))")
        if not _has_table(stores, "products"):
            stores.postgres.execute(_TABLES)
            for statement in _DISTRIBUTE:
                stores.postgres.execute(statement)
        for name, table, distribute in _ADDED:
            if not _has_table(stores, name):
                stores.postgres.execute(table)
                stores.postgres.execute(distribute)
        stores.postgres.execute(_ORDER_IDS)
    prepare_metadata(stores.mongo)
    outbox.prepare_sales(stores.mongo)


def count_products(stores: Stores) -> int:
    """Return how many products the shop has, 0 if it has not been created."""
    if not _has_table(stores, "products"):
        return 0
    row = stores.postgres.execute("SELECT count(*) FROM products").fetchone()
    return int(row[0]) if row else 0


def drop_shop(stores: Stores) -> None:
    """Drop the shop's tables, collections and stock, and nothing else.

    Raises ``ForeignDataError`` as ``create_shop`` does.
    """
    claim(stores)
    for name in _TABLE_NAMES:
        stores.postgres.execute(f"DROP TABLE IF EXISTS {name}")
    stores.postgres.execute("DROP SEQUENCE IF EXISTS order_ids")
    stores.mongo.productmetas.drop()
    outbox.drop_sales(stores.mongo)
    for pattern in (stock_key("*"), OWN_KEYS):
        keys = list(stores.redis.scan_iter(match=pattern, count=_BATCH))
        for start in range(0, len(keys), _BATCH):
            stores.redis.unlink(*keys[start : start + _BATCH])


def _has_table(stores: Stores, name: str) -> bool:
    return stores.postgres.execute("SELECT to_regclass(%s)", [name]).fetchone() != (None,)
