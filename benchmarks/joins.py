"""The time of each join strategy compared with the slowest store's raw query, and alternatives.

In each round all are measured once, so that other load on the machine affects all of them; a ratio
is the median of the rounds' ratios. A raw query only fetches the result: the same rows, the same
documents without decoding them, MGET of the same keys.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.timing import print_figure, seconds
from helpers.catalog.model import ProductJSON, stock_keys
from helpers.joins import join_json, products_json, strategies
from helpers.joins.requests import Strategy
from helpers.lab.join_alternatives import duckdb_json, flat_json, join_with_pandas, make_flat
from helpers.plots.join_charts import draw_growth
from helpers.plots.palette import PAPER
from helpers.settings import PROJECT, Settings
from helpers.shop.opening import open_databases
from helpers.shop.seeding import seed
from helpers.stores import Stores

_SIZES = (100, 1_000, 20_000)
_ROUNDS = {100: 61, 1_000: 31, 20_000: 11}
_PER_PRODUCT_UP_TO = 1_000
_PER_PRODUCT_ROUNDS = 3
_PICTURE = PROJECT / "build" / "bench-joins.png"

_ROWS = "SELECT id, name, price::text FROM products ORDER BY id"
_RAW = ("raw PostgreSQL", "raw MongoDB", "raw Redis")

Work = Callable[[], object]


def bench_joins(settings: Settings) -> None:
    """Print the time of each strategy by the number of products, and draw a chart."""
    found: dict[str, dict[int, list[float]]] = {}
    with open_databases("bench_joins", 12, settings) as stores:
        for size in _SIZES:
            seed(stores, size, orders=False)
            make_flat(stores)
            times = _measure(stores, size)
            _print_times(size, times)
            for way, line in times.items():
                found.setdefault(way, {})[size] = line
    _print_lines(found)
    _draw(found, _PICTURE)
    print(f"time by the number of products, drawn: {_PICTURE}")


def _measure(stores: Stores, size: int) -> dict[str, list[float]]:
    """Return the seconds of each strategy, one for each round."""
    works = {**_raw_queries(stores, size), **_joins(stores), **_alternatives(stores)}
    times: dict[str, list[float]] = {way: [] for way in works}
    for work in works.values():
        work()  # warm up: the first call imports modules and connects
    for _ in range(_ROUNDS[size]):
        for way, work in works.items():
            times[way].append(seconds(work))
    if size <= _PER_PRODUCT_UP_TO:
        slow = _with_json(stores, strategies.per_product)
        times["per_product"] = [seconds(slow) for _ in range(_PER_PRODUCT_ROUNDS)]
    return times


def _raw_queries(stores: Stores, size: int) -> dict[str, Work]:
    keys = stock_keys(range(1, size + 1))
    documents = stores.mongo.productmetas
    works: tuple[Work, ...] = (
        lambda: stores.postgres.execute(_ROWS, prepare=False).fetchall(),
        lambda: list(documents.find_raw_batches({})),
        lambda: stores.redis.mget(keys),
    )
    return dict(zip(_RAW, works, strict=True))


def _joins(stores: Stores) -> dict[str, Work]:
    return {
        "batched": _with_json(stores, strategies.batched),
        "rows_first": _with_json(stores, strategies.rows_first),
        "at_once": _with_json(stores, strategies.at_once),
    }


def _alternatives(stores: Stores) -> dict[str, Work]:
    return {
        "one PostgreSQL, JSONB": lambda: flat_json(stores.postgres),
        "pandas": lambda: products_json(join_with_pandas(stores)),
        "DuckDB": lambda: duckdb_json(stores),
    }


def _with_json(stores: Stores, strategy: Callable[[], Strategy[list[ProductJSON]]]) -> Work:
    return lambda: join_json(stores, strategy(), threads=True)


def _print_times(size: int, times: Mapping[str, list[float]]) -> None:
    slowest = _slowest_raw(times)
    print(f"join of {size:,} products with its JSON, by strategy; {slowest} is the slowest store")
    for way, line in times.items():
        print_figure(f"  {way}", [1000 * took for took in line], "ms")
        if way not in _RAW:
            print_figure(f"    to {slowest}", [_ratio(line, times[slowest])], "times")


def _print_lines(found: Mapping[str, Mapping[int, list[float]]]) -> None:
    low, high = _SIZES[1:]
    for way in ("batched", "at_once"):
        growth = statistics.median(found[way][high]) / statistics.median(found[way][low])
        print_figure(f"{way}: growth from {low:,} to {high:,} products", [growth], "times")
    batched = statistics.median(found["batched"][low])
    slower = [took / batched for took in found["per_product"][low]]
    print_figure(f"per_product to batched at {low:,} products", slower, "times")


def _slowest_raw(times: Mapping[str, list[float]]) -> str:
    return max(_RAW, key=lambda way: statistics.median(times[way]))


def _ratio(line: list[float], raw: list[float]) -> float:
    if len(line) != len(raw):
        return statistics.median(line) / statistics.median(raw)
    return statistics.median(took / raw_took for took, raw_took in zip(line, raw, strict=True))


def _draw(found: Mapping[str, Mapping[int, list[float]]], path: Path) -> None:
    points = {
        way: [(size, statistics.median(line)) for size, line in sizes.items()]
        for way, sizes in found.items()
        if way not in _RAW
    }
    path.parent.mkdir(exist_ok=True)
    draw_growth(points).savefig(path, dpi=110, bbox_inches="tight", facecolor=PAPER)
