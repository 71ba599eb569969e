"""How many orders are lost or doubled when whoever places them crashes: counted in the stores."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from helpers.errors import FaultError, SettingsError
from helpers.faults import dual_write
from helpers.faults.crashes import Crashes, crashing
from helpers.faults.order_attempts import RELAYED, Way, steps_of
from helpers.orders.outbox import PURCHASES, SALES, relay
from helpers.stock import Stock, reconcile
from helpers.stock.step_hooks import Moment
from helpers.stores import Stores

#: Told how many orders are done, and of how many.
Progress = Callable[[int, int], None]

_MOMENTS: tuple[Moment, ...] = ("before", "after")
_PRODUCTS = 20
_LARGEST = 3
_MANY = 100
_FIRST_CUSTOMER = 1_000_000  # above those of a generated shop

_NEWEST_CUSTOMER = "SELECT max(customer_id) FROM orders"
_PRODUCT_IDS = "SELECT id FROM products ORDER BY id LIMIT %s"


@dataclass(frozen=True)
class Crashed:
    """What became of one order whose first attempt was crashed at ``moment`` of ``step``.

    ``acknowledged``: its client was told so in the end. ``postgres`` and ``mongo`` are how often
    each store has it.
    """

    moment: Moment
    step: str
    acknowledged: bool
    postgres: int
    mongo: int

    @property
    def doubled(self) -> bool:
        """Whether a store has it twice."""
        return max(self.postgres, self.mongo) > 1

    @property
    def lost(self) -> bool:
        """Whether one store has it and the other has not, or none what was acknowledged."""
        missing = min(self.postgres, self.mongo) == 0
        return missing and (self.acknowledged or self.postgres != self.mongo)


@dataclass(frozen=True)
class Anomalies:
    """What became of each of many orders; ``miscounted`` are products with a wrong count."""

    way: Way
    orders: list[Crashed] = field(repr=False)
    miscounted: list[int] = field(repr=False)

    @property
    def lost(self) -> int:
        """How many orders are in one store and not in the other, or were acknowledged in vain."""
        return sum(one.lost for one in self.orders)

    @property
    def doubled(self) -> int:
        """How many orders are twice in a store."""
        return sum(one.doubled for one in self.orders)

    def rows(self) -> list[dict[str, str | int]]:
        """Return a row for each moment of each step: its orders, and those lost and doubled."""
        return [
            {
                "crash": f"{moment} {step}",
                "orders": len(those),
                "lost": sum(one.lost for one in those),
                "doubled": sum(one.doubled for one in those),
            }
            for step in steps_of(self.way)
            for moment in _MOMENTS
            if (those := [o for o in self.orders if (o.moment, o.step) == (moment, step)])
        ]


@dataclass(frozen=True)
class _Planned:
    product: int
    quantity: int
    customer: int
    key: str
    moment: Moment
    step: str
    returns: bool


def count_anomalies(
    stores: Stores,
    orders: int = 500,
    *,
    way: Way = "postgres first",
    retrying: float = 0.7,
    seed: int = 1,
    progress: Progress | None = None,
) -> Anomalies:
    """Place ``orders`` orders, crash each at a random moment, and count what became of them.

    Each order is one customer's. Its process really kills itself, at a moment of a step that is
    drawn from ``seed``. Then a part ``retrying`` of the clients ask again, of another process, and
    are answered; the others have gone away. By the saga, orders have a key, and at the end the
    outbox is relayed and what is in doubt is decided; the shop gets units enough of the products
    that are ordered. The two plain writes write a table and a collection of their own, made anew.

    Raises ``SettingsError`` for what is no way, number or part, or where the shop has no products;
    ``FaultError`` where an attempt ended otherwise than planned; and the drivers' errors.
    """
    plan = _plan(stores, orders, way, retrying, seed)
    if way == "saga":
        _deliver(stores, plan)
    else:
        dual_write.make_plain(stores)
    acknowledged = _carry_out(stores, plan, way, progress)
    if way == "saga":
        while relay(stores):
            continue
        reconcile(Stock.of(stores), in_doubt_seconds=0)
        found, miscounted = _found_by_saga(stores, plan)
    else:
        found, miscounted = _found_plainly(stores)
    return Anomalies(
        way,
        [
            Crashed(
                one.moment,
                one.step,
                one.customer in acknowledged,
                found[0][one.customer],
                found[1][one.customer],
            )
            for one in plan
        ],
        miscounted,
    )


def _plan(stores: Stores, orders: int, way: Way, retrying: float, seed: int) -> list[_Planned]:
    if orders < 1 or not 0 <= retrying <= 1:
        raise SettingsError(
            f"{orders} orders of which {retrying} are tried again cannot be placed: give 1 or "
            "more orders, and a part from 0 to 1."
        )
    products = [one for (one,) in stores.postgres.execute(_PRODUCT_IDS, [_PRODUCTS])]
    if not products:
        raise SettingsError("The shop has no products: fill it with seed(stores, 100), say.")
    row = stores.postgres.execute(_NEWEST_CUSTOMER).fetchone()
    first = max(_FIRST_CUSTOMER, 1 + (row[0] if row and row[0] else 0))
    draw = random.Random(f"{seed}:{way}")
    moments = [(moment, step) for step in steps_of(way) for moment in _MOMENTS]
    plan = []
    for number in range(orders):
        moment, step = draw.choice(moments)
        plan.append(
            _Planned(
                draw.choice(products),
                draw.randint(1, _LARGEST),
                first + number,
                f"drill-{first + number}",
                moment,
                step,
                draw.random() < retrying,
            )
        )
    return plan


def _deliver(stores: Stores, plan: Iterable[_Planned]) -> None:
    """Let the shop have units enough, whatever a crash holds of them for a while."""
    wanted: Counter[int] = Counter()
    for one in plan:
        wanted[one.product] += one.quantity
    stock = Stock.of(stores)
    for product, units in wanted.items():
        stock.restock(product, 2 * units)


def _carry_out(
    stores: Stores, plan: list[_Planned], way: Way, progress: Progress | None
) -> set[int]:
    """Place the orders, and return the customers who were told that it was done.

    Where they are many, two are at it at a time. The same one crashes all relays: none finds its
    rows carried already.
    """
    relayed = [one for one in plan if one.step in RELAYED]
    others = [one for one in plan if one.step not in RELAYED]
    first = len(plan) // 2 if len(plan) >= _MANY else len(plan)
    half = max(0, first - len(relayed))
    shares = [share for share in (relayed + others[:half], others[half:]) if share]
    done = itertools.count(1)

    def advance() -> None:
        if progress is not None:
            progress(next(done), len(plan))

    with ThreadPoolExecutor(len(shares)) as pool:
        at_it = [pool.submit(_carry_out_share, stores, one, way, advance) for one in shares]
    return set().union(*(one.result() for one in at_it))


def _carry_out_share(
    stores: Stores, plan: list[_Planned], way: Way, advance: Callable[[], None]
) -> set[int]:
    acknowledged = set()
    with crashing(stores) as crashes:
        for one in plan:
            if _place(crashes, one, way):
                acknowledged.add(one.customer)
            advance()
    return acknowledged


def _place(crashes: Crashes, one: _Planned, way: Way) -> bool:
    """Crash one order, and try it again if its client does; tell whether it was answered."""
    about = {"product": one.product, "quantity": one.quantity, "customer": one.customer}
    (outcome,) = crashes.kill_at(one.moment, one.step, key=one.key, way=way, **about)
    if not outcome.killed:
        raise FaultError(
            f"The process that was to die {one.moment} {one.step} did not: "
            f"{outcome.error or 'its order was placed'}. See whether all stores answer (`python -m "
            "helpers status`), and that nobody else relays the outbox."
        )
    if not one.returns:
        return False
    again = crashes.place(key=one.key, way=way, **about)
    if again.order is None:
        raise FaultError(f"The order could not be tried again: {again.error}")
    return True


_Found = tuple[Counter[int], Counter[int]]


def _found_by_saga(stores: Stores, plan: list[_Planned]) -> tuple[_Found, list[int]]:
    """Return how often each store has each customer's order, and which counts are wrong."""
    products = sorted({one.product for one in plan})
    rows = stores.postgres.execute(
        "SELECT customer_id, count(*) FROM orders WHERE customer_id >= %s GROUP BY customer_id",
        [plan[0].customer],
    )
    pairs = stores.mongo[PURCHASES].find({"customer_id": {"$gte": plan[0].customer}})
    found: _Found = (
        Counter(dict(rows.fetchall())),
        Counter(int(one["customer_id"]) for one in pairs),
    )
    # Of products that were never carried, MongoDB knows nothing: their orders are older than it.
    totals = _totals(stores, "orders", products)
    counted = _counted(stores, SALES)
    ordered = {one.product for one in plan if found[0][one.customer]}
    return found, [one for one in products if one in ordered and totals[one] != counted.get(one)]


def _found_plainly(stores: Stores) -> tuple[_Found, list[int]]:
    rows = stores.postgres.execute(
        "SELECT customer_id, count(*) FROM plain_orders GROUP BY customer_id"
    )
    by: Counter[int] = Counter()
    for document in stores.mongo[dual_write.SALES].find():
        by.update({int(customer): count for customer, count in document["by"].items()})
    counted = _counted(stores, dual_write.SALES)
    totals = _totals(stores, dual_write.ORDERS, None)
    wrong = [one for one in totals | counted if totals.get(one) != counted.get(one)]
    return (Counter(dict(rows.fetchall())), by), sorted(wrong)


def _totals(stores: Stores, table: str, products: list[int] | None) -> dict[int, tuple[int, int]]:
    """Return how many orders and units of each product PostgreSQL has."""
    statement = {
        "orders": "SELECT product_id, count(*), sum(quantity)::bigint FROM orders "
        "WHERE product_id = ANY(%s) GROUP BY product_id",
        dual_write.ORDERS: "SELECT product_id, count(*), sum(quantity)::bigint FROM plain_orders "
        "GROUP BY product_id",
    }[table]
    rows: Any = stores.postgres.execute(statement, None if products is None else [products])
    return {product: (orders, int(units)) for product, orders, units in rows}


def _counted(stores: Stores, collection: str) -> dict[int, tuple[int, int]]:
    """Return how many orders and units of each product MongoDB has counted."""
    return {
        int(one["_id"]): (int(one["orders"]), int(one["units"]))
        for one in stores.mongo[collection].find()
    }
