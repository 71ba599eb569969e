"""Count lost and duplicate orders after crashes, from what the stores contain."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from helpers.errors import FaultError, SettingsError
from helpers.faults import dual_write
from helpers.faults.crashes import Crashes, crashing
from helpers.faults.order_attempts import RELAYED, Strategy, steps_of
from helpers.orders.outbox import PURCHASES, SALES, relay
from helpers.stock import Stock, reconcile
from helpers.stock.step_hooks import Moment
from helpers.stores import Stores

#: Called after each order with the number of orders done and the number of all orders.
Progress = Callable[[int, int], None]

_MOMENTS: tuple[Moment, ...] = ("before", "after")
_PRODUCTS = 20
_MAX_QUANTITY = 3
_TWO_THREADS_FROM = 100  # orders
_FIRST_CUSTOMER = 1_000_000  # above the customers of a generated shop

_NEWEST_CUSTOMER = "SELECT max(customer_id) FROM orders"
_PRODUCT_IDS = "SELECT id FROM products ORDER BY id LIMIT %s"
_TOTALS = """
SELECT product_id, count(*), sum(quantity)::bigint FROM {} WHERE product_id = ANY(%s)
GROUP BY product_id
"""


@dataclass(frozen=True)
class CrashedOrder:
    """The result of an order whose first attempt crashed at ``moment`` of ``step``.

    ``acknowledged`` says whether its client got the order's number in the end; ``postgres`` and
    ``mongo`` are how often each store has the order.
    """

    moment: Moment
    step: str
    acknowledged: bool
    postgres: int
    mongo: int

    @property
    def duplicated(self) -> bool:
        """Whether a store has it more than once."""
        return max(self.postgres, self.mongo) > 1

    @property
    def lost(self) -> bool:
        """Whether only one store has it, or no store although it was acknowledged."""
        missing = min(self.postgres, self.mongo) == 0
        return missing and (self.acknowledged or self.postgres != self.mongo)


@dataclass(frozen=True)
class Inconsistencies:
    """The results of many crashed orders.

    ``miscounted`` are the products whose sales PostgreSQL and MongoDB count differently.
    """

    strategy: Strategy
    orders: list[CrashedOrder] = field(repr=False)
    miscounted: list[int] = field(repr=False)

    @property
    def lost(self) -> int:
        """The number of lost orders."""
        return sum(order.lost for order in self.orders)

    @property
    def duplicated(self) -> int:
        """The number of duplicate orders."""
        return sum(order.duplicated for order in self.orders)

    def rows(self) -> list[dict[str, str | int]]:
        """Return a row per moment and step: how many orders crashed, were lost, were duplicated."""
        return [
            {
                "crash": f"{moment} {step}",
                "orders": len(orders),
                "lost": sum(order.lost for order in orders),
                "doubled": sum(order.duplicated for order in orders),
            }
            for step in steps_of(self.strategy)
            for moment in _MOMENTS
            if (orders := [o for o in self.orders if (o.moment, o.step) == (moment, step)])
        ]


@dataclass(frozen=True)
class _PlannedOrder:
    product: int
    quantity: int
    customer: int
    key: str
    moment: Moment
    step: str
    retried: bool


def count_inconsistencies(
    stores: Stores,
    orders: int = 500,
    *,
    strategy: Strategy = "postgres first",
    retrying: float = 0.7,
    seed: int = 1,
    progress: Progress | None = None,
) -> Inconsistencies:
    """Place ``orders`` orders, crash each at a random moment, and count the inconsistencies.

    Each order has its own customer. The process that places it kills itself before or after a step
    drawn from ``seed``. A share ``retrying`` of the clients (0 to 1) then retry in another process.
    With the saga, orders have an idempotency key; at the end the outbox is relayed and orders in
    doubt are settled. Products are restocked as needed. The dual writes use their own table and
    collection, which are created empty.

    Raises ``SettingsError`` for an invalid argument or a shop without products, ``FaultError`` if
    an attempt did not crash as planned, and the drivers' errors.
    """
    plan = _plan(stores, orders, strategy, retrying, seed)
    if strategy == "saga":
        _restock(stores, plan)
    else:
        dual_write.create_dual_write_tables(stores)
    acknowledged = _place_all(stores, plan, strategy, progress)
    if strategy == "saga":
        while relay(stores):
            continue
        reconcile(Stock.of(stores), in_doubt_seconds=0)
        postgres, mongo = _count_saga(stores, plan[0].customer)
        # MongoDB has no counts for products that were ordered only before the outbox existed.
        compared = {planned.product for planned in plan if postgres[planned.customer]}
        miscounted = _miscounted(stores, compared, "orders", SALES)
    else:
        postgres, mongo = _count_dual_writes(stores)
        compared = {planned.product for planned in plan}
        miscounted = _miscounted(stores, compared, dual_write.ORDERS, dual_write.SALES)
    return Inconsistencies(
        strategy,
        [
            CrashedOrder(
                planned.moment,
                planned.step,
                planned.customer in acknowledged,
                postgres[planned.customer],
                mongo[planned.customer],
            )
            for planned in plan
        ],
        miscounted,
    )


def _plan(
    stores: Stores, orders: int, strategy: Strategy, retrying: float, seed: int
) -> list[_PlannedOrder]:
    if orders < 1 or not 0 <= retrying <= 1:
        raise SettingsError(
            f"orders is {orders} and retrying is {retrying}: give 1 or more orders, and a share "
            "from 0 to 1."
        )
    products = [product for (product,) in stores.postgres.execute(_PRODUCT_IDS, [_PRODUCTS])]
    if not products:
        raise SettingsError("The shop has no products: load some with seed(stores, 100), say.")
    row = stores.postgres.execute(_NEWEST_CUSTOMER).fetchone()
    first = max(_FIRST_CUSTOMER, 1 + (row[0] if row and row[0] else 0))
    draw = random.Random(f"{seed}:{strategy}")
    moments = [(moment, step) for step in steps_of(strategy) for moment in _MOMENTS]
    plan = []
    for number in range(orders):
        moment, step = draw.choice(moments)
        plan.append(
            _PlannedOrder(
                draw.choice(products),
                draw.randint(1, _MAX_QUANTITY),
                first + number,
                f"crash-{first + number}",
                moment,
                step,
                draw.random() < retrying,
            )
        )
    return plan


def _restock(stores: Stores, plan: Iterable[_PlannedOrder]) -> None:
    """Add enough units for all orders, including those that crashed attempts still reserve."""
    ordered: Counter[int] = Counter()
    for planned in plan:
        ordered[planned.product] += planned.quantity
    stock = Stock.of(stores)
    for product, units in ordered.items():
        stock.restock(product, 2 * units)


def _place_all(
    stores: Stores, plan: list[_PlannedOrder], strategy: Strategy, progress: Progress | None
) -> set[int]:
    """Place the orders, and return the customers whose orders were acknowledged.

    Many orders are placed by two threads. One thread crashes all relays, since a second relay
    would carry the rows of the first.
    """
    relayed = [planned for planned in plan if planned.step in RELAYED]
    others = [planned for planned in plan if planned.step not in RELAYED]
    first = len(plan) // 2 if len(plan) >= _TWO_THREADS_FROM else len(plan)
    half = max(0, first - len(relayed))
    shares = [share for share in (relayed + others[:half], others[half:]) if share]
    done = itertools.count(1)

    def advance() -> None:
        if progress is not None:
            progress(next(done), len(plan))

    with ThreadPoolExecutor(len(shares)) as pool:
        futures = [pool.submit(_place_share, stores, share, strategy, advance) for share in shares]
    return set().union(*(future.result() for future in futures))


def _place_share(
    stores: Stores, plan: list[_PlannedOrder], strategy: Strategy, advance: Callable[[], None]
) -> set[int]:
    acknowledged = set()
    with crashing(stores) as crashes:
        for planned in plan:
            if _place(crashes, planned, strategy):
                acknowledged.add(planned.customer)
            advance()
    return acknowledged


def _place(crashes: Crashes, planned: _PlannedOrder, strategy: Strategy) -> bool:
    """Crash an order, retry it if its client retries, and return whether it was acknowledged."""
    order = {
        "product": planned.product,
        "quantity": planned.quantity,
        "customer": planned.customer,
    }
    moment, step = planned.moment, planned.step
    (outcome,) = crashes.kill_at(moment, step, key=planned.key, strategy=strategy, **order)
    if not outcome.killed:
        raise FaultError(
            f"The process that was to crash {moment} {step} did not: "
            f"{outcome.error or 'its order was placed'}. Check that all stores respond (`python -m "
            "helpers status`), and that no other process relays the outbox."
        )
    if not planned.retried:
        return False
    again = crashes.place(key=planned.key, strategy=strategy, **order)
    if again.order is None:
        raise FaultError(f"The order could not be retried: {again.error}")
    return True


#: For PostgreSQL and for MongoDB, the number of orders of each customer.
_OrderCounts = tuple[Counter[int], Counter[int]]


def _count_saga(stores: Stores, first_customer: int) -> _OrderCounts:
    rows = stores.postgres.execute(
        "SELECT customer_id, count(*) FROM orders WHERE customer_id >= %s GROUP BY customer_id",
        [first_customer],
    )
    purchases = stores.mongo[PURCHASES].find({"customer_id": {"$gte": first_customer}})
    return (
        Counter(dict(rows.fetchall())),
        Counter(int(purchase["customer_id"]) for purchase in purchases),
    )


def _count_dual_writes(stores: Stores) -> _OrderCounts:
    rows = stores.postgres.execute(
        "SELECT customer_id, count(*) FROM plain_orders GROUP BY customer_id"
    )
    by_customer: Counter[int] = Counter()
    for document in stores.mongo[dual_write.SALES].find():
        by_customer.update({int(customer): count for customer, count in document["by"].items()})
    return Counter(dict(rows.fetchall())), by_customer


def _miscounted(stores: Stores, products: set[int], table: str, collection: str) -> list[int]:
    """Return the products whose orders or units differ between the table and the collection."""
    rows: Any = stores.postgres.execute(
        sql.SQL(_TOTALS).format(sql.Identifier(table)), [list(products)]
    )
    totals = {product: (orders, int(units)) for product, orders, units in rows}
    counted = {
        int(document["_id"]): (int(document["orders"]), int(document["units"]))
        for document in stores.mongo[collection].find()
    }
    return sorted(product for product in products if totals.get(product) != counted.get(product))
