"""Concurrent buyers of the same products, and the reconciliation after that."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from psycopg_pool import ConnectionPool

from benchmarks.timing import print_figure, seconds
from helpers.lab.buyers import Act, buying, plan_attempts, run_buyers
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.shop.schema import create_shop
from helpers.stock import Ledger, Stock, reconcile
from helpers.stores import connect_redis
from helpers.validation import MOST_UNITS

_PRODUCTS = range(1, 1001)
_BUYERS, _ATTEMPTS = 64, 10_000


def bench_stock(settings: Settings) -> None:
    """Print the rate of attempts to buy, and the time of reconciling."""
    with (
        open_databases("bench_stock", 13, settings) as stores,
        ConnectionPool(
            stores.addresses.coordinator,
            min_size=8,
            kwargs={"dbname": stores.mongo.name, "autocommit": True},
        ) as pool,
    ):
        create_shop(stores)
        stock = Stock(stores.redis, Ledger(pool))
        stock.ledger.set_on_hand(dict.fromkeys(_PRODUCTS, 100) | {1: MOST_UNITS})
        stock.refresh(_PRODUCTS)

        @contextlib.contextmanager
        def buyer(_: int) -> Iterator[Act[str]]:
            number = stores.redis_database
            with connect_redis(stores.addresses.redis, database=number) as client:
                yield buying(Stock(client, stock.ledger))

        plans = plan_attempts(_ATTEMPTS, buyers=_BUYERS, products=list(_PRODUCTS))
        outcomes: Counter[str] = Counter()
        took = seconds(lambda: outcomes.update(run_buyers(plans, buyer)))
        print_figure("64 buyers, attempts to buy", [_ATTEMPTS / took], "per second")
        print_figure("  of which confirmed, in the ledger", [outcomes["confirmed"]], "")
        took = seconds(lambda: print(f"  {reconcile(stock)}"))
        print_figure("reconciliation of 1,000 products after that", [took], "s")
