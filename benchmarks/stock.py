"""Stock levels compared with MGET, reservations with an empty script, and concurrent buyers."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator

from psycopg_pool import ConnectionPool

from benchmarks.timing import print_figure, seconds
from helpers.lab.buyers import Act, buying, plan_attempts, run_buyers
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.shop.schema import create_shop
from helpers.stock import Ledger, Stock, reconcile
from helpers.stores import Stores
from helpers.stores.connect import connect_redis
from helpers.validation import MOST_UNITS

_ROUNDS = 41
_PRODUCTS = range(1, 1001)
_BUYERS, _ATTEMPTS = 64, 10_000


def bench_stock(settings: Settings) -> None:
    """Print the time of reading, reserving, selling to concurrent buyers and reconciling."""
    with open_databases("bench_stock", 13, settings) as stores:
        create_shop(stores)
        stock = Stock.of(stores)
        stock.ledger.set_on_hand(dict.fromkeys(_PRODUCTS, 100) | {1: MOST_UNITS})
        stock.refresh(_PRODUCTS)
        _bench_reading(stores, stock)
        _bench_reserving(stores, stock)
        _bench_concurrent_buyers(stores)


def _bench_reading(stores: Stores, stock: Stock) -> None:
    keys = [f"stock:{product}" for product in _PRODUCTS]
    bare, read = _interleaved(lambda: stores.redis.mget(keys), lambda: stock.read(_PRODUCTS), 5)
    print_figure("stock levels of 1,000 products", [1000 * took for took in read], "ms")
    _print_ratio("  to a bare MGET", read, bare)


def _bench_reserving(stores: Stores, stock: Stock) -> None:
    empty = stores.redis.script_load("return 1")
    numbers = itertools.count()

    def with_arguments() -> None:
        token = f"{next(numbers):032}"
        keys = ("shop:a", "shop:b", f"shop:reservation:{token}", "stock:1", "shop:reserved:1")
        stores.redis.evalsha(empty, len(keys), *keys, token, 0, 900_000, "1:1", 1)

    def reserve() -> None:
        stock.reserve({1: 1})

    bare, reserved = _interleaved(lambda: stores.redis.evalsha(empty, 0), reserve, 200)
    print_figure("a reservation", [1e6 * took for took in reserved], "µs")
    _print_ratio("  to EVALSHA of an empty script without arguments", reserved, bare)
    bare, reserved = _interleaved(with_arguments, reserve, 200)
    _print_ratio("  to EVALSHA of an empty script with the same arguments", reserved, bare)


def _bench_concurrent_buyers(stores: Stores) -> None:
    number = stores.redis.connection_pool.connection_kwargs["db"]
    with ConnectionPool(
        stores.addresses.coordinator,
        min_size=8,
        kwargs={"dbname": stores.mongo.name, "autocommit": True},
    ) as pool:
        ledger = Ledger(pool)

        @contextlib.contextmanager
        def buyer(_: int) -> Iterator[Act[str]]:
            with connect_redis(stores.addresses.redis, database=number) as client:
                yield buying(Stock(client, ledger))

        plans = plan_attempts(_ATTEMPTS, buyers=_BUYERS, products=list(_PRODUCTS))
        outcomes: Counter[str] = Counter()
        took = seconds(lambda: outcomes.update(run_buyers(plans, buyer)))
        print_figure("64 buyers, attempts to buy", [_ATTEMPTS / took], "per second")
        print_figure("  of which confirmed, in the ledger", [outcomes["confirmed"]], "")
        stock = Stock(stores.redis, ledger)
        took = seconds(lambda: print(f"  {reconcile(stock)}"))
        print_figure("reconciliation of 1,000 products after that", [took], "s")


def _interleaved(
    first: Callable[[], object], second: Callable[[], object], times: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of a call of each in alternating rounds, so that load affects both."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for work, line in zip((first, second), found, strict=True):
            begin = time.perf_counter()
            for _ in range(times):
                work()
            line.append((time.perf_counter() - begin) / times)
    return found


def _print_ratio(what: str, line: list[float], bare: list[float]) -> None:
    ratios = [took / bare_took for took, bare_took in zip(line, bare, strict=True)]
    print_figure(what, [statistics.median(ratios)], "times")
