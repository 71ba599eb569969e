"""What the shop consists of in each store: tables, collections, keys."""

from __future__ import annotations

from helpers.catalog.model import stock_key
from helpers.metadata.collection_schema import prepare_metadata
from helpers.orders import idempotency_keys, outbox
from helpers.orders.order_rows import FIRST_ORDER
from helpers.stock import ledger
from helpers.stock.redis_keys import OWN_KEYS
from helpers.stores import Stores

# Shards of products and of orders: few enough to look at, more than a laptop has nodes.
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

# On the coordinator, so that ids are unique over all shards without asking one.
_ORDER_IDS = f"""
CREATE SEQUENCE IF NOT EXISTS order_ids
    MINVALUE {FIRST_ORDER} MAXVALUE {2**53 - 1} START {FIRST_ORDER}
"""

# Orders stand on the node of their product, categories on every node: both join without a detour.
_SPREAD = (
    f"SELECT create_distributed_table('products', 'id', shard_count => {SHARDS})",
    "SELECT create_distributed_table('orders', 'product_id', colocate_with => 'products')",
    "SELECT create_reference_table('categories')",
)

# Those that a shop may lack which was made by an earlier version.
_ADDED = (
    ("stock_movements", ledger.TABLE, ledger.SPREAD),
    ("order_keys", idempotency_keys.TABLE, idempotency_keys.SPREAD),
    ("order_outbox", outbox.TABLE, outbox.SPREAD),
)

_TABLE_NAMES = (*(name for name, _, _ in _ADDED), "orders", "products", "categories")
_BATCH = 1000


def create_shop(stores: Stores) -> None:
    """Create the shop's tables, spread over the workers, and its collections, where they are not.

    Products are distributed by their id; orders, their keys, their outbox and the movements of the
    stock by their product; all are colocated. Categories are a reference table. The sequence
    ``order_ids`` numbers orders that are placed.
    """
    with stores.postgres.transaction():
        # Two that create the same table at once would not both succeed: let them queue.
        stores.postgres.execute("SELECT pg_advisory_xact_lock(hashtext('create_shop'))")
        if not _has_table(stores, "products"):
            stores.postgres.execute(_TABLES)
            for statement in _SPREAD:
                stores.postgres.execute(statement)
        for name, table, spread in _ADDED:
            if not _has_table(stores, name):
                stores.postgres.execute(table)
                stores.postgres.execute(spread)
        stores.postgres.execute(_ORDER_IDS)
    prepare_metadata(stores.mongo)
    outbox.prepare_sales(stores.mongo)


def count_products(stores: Stores) -> int:
    """Return how many products the shop has; 0 where it has not been created."""
    if not _has_table(stores, "products"):
        return 0
    row = stores.postgres.execute("SELECT count(*) FROM products").fetchone()
    return int(row[0]) if row else 0


def drop_shop(stores: Stores) -> None:
    """Drop the shop's tables, its collections and its stock; leave everything else alone."""
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
