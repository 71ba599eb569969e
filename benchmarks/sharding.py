"""The overhead of sharding on one machine: the cluster compared with a single PostgreSQL.

On one machine, a cluster has no more cores and memory than a single server, and each query passes
through more processes. To compare genuine Citus, run this again with a ``PG_BINDIR`` that has it.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from benchmarks.timing import print_figure, seconds
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
_QUERIES = {
    "count(*) over 100,000 rows": "SELECT count(*) FROM orders",
    "join with aggregation, by the key": (
        "SELECT p.id, sum(o.quantity * p.price) FROM products p "
        "JOIN orders o ON o.product_id = p.id GROUP BY p.id"
    ),
}


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
            _print_ratio("INSERT … SELECT of 100,000 rows", plain, sharded, _insert)
            for what, query in _QUERIES.items():
                _print_ratio(what, plain, sharded, _executing(query))
            _print_ratio("read of one row by its key, simple", plain, sharded, _read_simple)
            _print_ratio("read of one row by its key, prepared", plain, sharded, _read_prepared)


def _print_ratio(
    what: str,
    plain: psycopg.Connection,
    sharded: psycopg.Connection,
    work: Callable[[psycopg.Connection], object],
) -> None:
    pairs = [(seconds(lambda: work(plain)), seconds(lambda: work(sharded))) for _ in range(_RUNS)]
    milliseconds = sorted(1000 * slow for _, slow in pairs)[_RUNS // 2]
    print_figure(f"{what}: time against one node", [slow / fast for fast, slow in pairs], "x")
    print(f"{'':<58}{milliseconds:8.1f} ms")


def _insert(connection: psycopg.Connection) -> None:
    connection.execute("TRUNCATE orders")
    connection.execute(_FILL_ORDERS)


def _executing(query: str) -> Callable[[psycopg.Connection], object]:
    return lambda connection: connection.execute(query).fetchall()


def _read_simple(connection: psycopg.Connection) -> None:
    with psycopg.ClientCursor(connection) as cursor:
        for number in range(_READS):
            cursor.execute("SELECT * FROM products WHERE id = %s", [1 + number])


def _read_prepared(connection: psycopg.Connection) -> None:
    with connection.cursor() as cursor:
        for number in range(_READS):
            cursor.execute("SELECT * FROM products WHERE id = %s", [1 + number], prepare=True)
