"""The time of each join strategy compared with the slowest store's raw query, and alternatives.

A raw query only fetches the result: the same rows, the same documents without decoding them, MGET
of the same keys.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.timing import Work, compare, print_figure, ratios
from helpers.catalog.model import ProductJSON, stock_keys
from helpers.joins import products_json, strategies
from helpers.joins.executor import run
from helpers.joins.garbage_collection import gc_relaxed
from helpers.joins.requests import Strategy
from helpers.lab import flat_json, join_with_pandas, make_flat
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.shop.seeding import seed
from helpers.stores import Stores

_ROUNDS = {100: 61, 1_000: 31, 20_000: 11}
_SLOW_ROUNDS = 3
# One query per product: measured for this size only.
_SLOW_SIZE = 1_000

_ROWS = "SELECT id, name, price::text FROM products ORDER BY id"
_RAW = ("raw PostgreSQL", "raw MongoDB", "raw Redis")


def bench_joins(settings: Settings) -> None:
    """Print the time of each strategy by the number of products."""
    batched = {}
    with open_databases("bench_joins", 12, settings) as stores:
        for size, rounds in _ROUNDS.items():
            seed(stores, size, orders=False)
            make_flat(stores)
            times = compare(_works(stores, size), rounds)
            _print_times(size, times)
            batched[size] = statistics.median(times["batched"])
            if size == _SLOW_SIZE:
                slow = compare({"": _with_json(stores, strategies.per_product)}, _SLOW_ROUNDS)[""]
                print_figure(
                    "  per_product to batched", [took / batched[size] for took in slow], "times"
                )
    growth = batched[20_000] / batched[1_000]
    print_figure("batched: growth from 1,000 to 20,000 products", [growth], "times")


def _works(stores: Stores, size: int) -> dict[str, Work]:
    keys = stock_keys(range(1, size + 1))
    documents = stores.mongo.productmetas
    return {
        "raw PostgreSQL": lambda: stores.postgres.execute(_ROWS, prepare=False).fetchall(),
        "raw MongoDB": lambda: list(documents.find_raw_batches({})),
        "raw Redis": lambda: stores.redis.mget(keys),
        "batched": _with_json(stores, strategies.batched),
        "at_once": _with_json(stores, strategies.at_once),
        "one PostgreSQL, JSONB": lambda: flat_json(stores.postgres),
        "pandas": lambda: products_json(join_with_pandas(stores)),
    }


def _with_json(stores: Stores, strategy: Callable[[], Strategy[list[ProductJSON]]]) -> Work:
    def work() -> bytes:
        # The products are freed before the garbage collector scans them.
        with gc_relaxed():
            return products_json(run(stores, strategy(), threads=True))

    return work


def _print_times(size: int, times: dict[str, list[float]]) -> None:
    slowest = max(_RAW, key=lambda way: statistics.median(times[way]))
    print(f"join of {size:,} products with its JSON, by strategy; {slowest} is the slowest store")
    for way, line in times.items():
        print_figure(f"  {way}", [1000 * took for took in line], "ms")
        if way not in _RAW:
            print_figure(f"    to {slowest}", ratios(line, times[slowest]), "times")
