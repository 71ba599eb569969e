"""The overhead of sharding on one machine: the cluster compared with a single PostgreSQL.

On one machine, a cluster has no more cores and memory than a single server, and each query passes
through more processes. To compare genuine Citus, run this again with a ``PG_BINDIR`` that has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psycopg

from benchmarks.timing import compare, print_figure, ratios
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.stores.connect import connect_postgres

_ROWS = 100_000
_PRODUCTS = 5_000
_READS = 1_000
_RUNS = 5

_TABLES = """
CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, price numeric NOT NULL);
CREATE TABLE orders (
    id bigint NOT NULL, product_id bigint NOT NULL, quantity int NOT NULL,
    PRIMARY KEY (product_id, id));
"""
_SPREAD = """
SELECT create_distributed_table('products', 'id', shard_count => 8);
SELECT create_distributed_table('orders', 'product_id', colocate_with => 'products');
"""
_FILL_PRODUCTS = f"""
INSERT INTO products SELECT n, 'Product ' || n, n % 100 FROM generate_series(1, {_PRODUCTS}) AS n
"""
_FILL_ORDERS = f"""
INSERT INTO orders SELECT n, 1 + n % {_PRODUCTS}, 1 + n % 3 FROM generate_series(1, {_ROWS}) AS n
"""
_JOIN = """
SELECT p.id, sum(o.quantity * p.price) FROM products p JOIN orders o ON o.product_id = p.id
GROUP BY p.id
"""


def bench_sharding(settings: Settings) -> None:
    """Print the ratios of the cluster's times to those of a single plain PostgreSQL."""
    with open_databases("bench_sharded", 15, settings) as stores:
        sharded = stores.postgres
        with connect_postgres(stores.addresses.coordinator, database="postgres") as admin:
            admin.execute("DROP DATABASE IF EXISTS bench_plain")
            admin.execute("CREATE DATABASE bench_plain")
        with connect_postgres(stores.addresses.coordinator, database="bench_plain") as plain:
            for connection in (plain, sharded):
                connection.execute(_TABLES)
            sharded.execute(_SPREAD)
            for connection in (plain, sharded):
                connection.execute(_FILL_PRODUCTS)
            for what, work in _WORKS.items():
                times = compare(
                    {"plain": partial(work, plain), "sharded": partial(work, sharded)}, _RUNS
                )
                found = ratios(times["sharded"], times["plain"])
                print_figure(f"{what}: time against one node", found, "x")


def _insert(connection: psycopg.Connection) -> None:
    connection.execute("TRUNCATE orders")
    connection.execute(_FILL_ORDERS)


def _count(connection: psycopg.Connection) -> None:
    connection.execute("SELECT count(*) FROM orders")


def _join(connection: psycopg.Connection) -> None:
    connection.execute(_JOIN)


def _read_simple(connection: psycopg.Connection) -> None:
    with psycopg.ClientCursor(connection) as cursor:
        for number in range(_READS):
            cursor.execute("SELECT * FROM products WHERE id = %s", [1 + number])


def _read_prepared(connection: psycopg.Connection) -> None:
    for number in range(_READS):
        connection.execute("SELECT * FROM products WHERE id = %s", [1 + number], prepare=True)


_WORKS: dict[str, Callable[[psycopg.Connection], None]] = {
    "INSERT … SELECT of 100,000 rows": _insert,
    "count(*) over 100,000 rows": _count,
    "join with aggregation, by the key": _join,
    "read of one row by its key, simple": _read_simple,
    "read of one row by its key, prepared": _read_prepared,
}
