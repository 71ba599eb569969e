"""One run: kill at each step, kill under load, recover, and assert that all stores agree."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from helpers.embedded import EmbeddedServers
from helpers.embedded.temporary_servers import start_temporary_servers
from helpers.errors import CourseError
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.shop import locate, open_shop
from helpers.shop.seeding import seed as fill
from helpers.stock import Stock, reconcile
from helpers.stock.step_hooks import StepHook
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from helpers.stores.environment import environment_of
from helpers.stores.pooled_stores import connect_pooled
from tests.e2e.torture.buyers import Buyers, Responses
from tests.e2e.torture.plan import RELAY_STEPS, SERVERS, AtStep, Plan, UnderLoad
from tests.e2e.torture.programs import HANG_SECONDS, Api, Program, Relay
from tests.orders.agreement import (
    assert_all_agree,
    assert_keys_agree,
    assert_nothing_open,
    assert_relayed,
    ordered,
    outbox_rows,
)
from tests.stock.agreement import on_hand

PRODUCTS = 20
#: The most popular products have little stock, so that some orders are refused.
SCARCE, FEW = 4, 60

Report = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """The result of a run: how many orders were placed, refused and retried.

    ``slowest`` is the seconds that the slowest request took.
    """

    acknowledged: int
    refused: int
    failures: Counter[str]
    orders: int
    slowest: float

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {what}" for what, count in self.failures.most_common())
        return (
            f"{self.acknowledged} orders acknowledged, {self.refused} refused, {self.orders} in "
            f"the shop; retried after {failures or 'nothing'}; the slowest request took "
            f"{self.slowest:.2f} s"
        )


def torture(plan: Plan, folder: Path, report: Report = lambda _: None) -> Outcome:
    """Run a plan. Raises ``AssertionError`` if an order is lost, duplicated or incomplete."""
    with _open_shop(folder) as shop:
        placed = {
            f"step-{number}": shop.kill_at(at, f"step-{number}", report)
            for number, at in enumerate(plan.at_steps)
        }
        shop.wait_until_settled()
        shop.assert_consistent(placed)
        responses = shop.kill_under_load(plan, report)
        shop.wait_until_settled()
        shop.assert_consistent(placed | responses.acknowledged, responses.refused)
        return Outcome(
            len(responses.acknowledged),
            len(responses.refused),
            responses.failures,
            len(shop.read_orders()),
            shop.api.slowest_seconds(),
        )


class Shop:
    """A shop with all its processes, each of which can be killed and restarted."""

    def __init__(self, servers: EmbeddedServers, api: Api, relay: Relay) -> None:
        self._servers = servers
        self.api = api
        self._relay = relay
        with self._stores() as stores:
            self._stock = on_hand(stores.postgres)

    # Killing and starting.

    def kill(self, target: str) -> None:
        """Kill one process or server with SIGKILL."""
        if target in SERVERS:
            self._servers.server(target).kill()
        else:
            self._program(target).kill()

    def heal(self) -> None:
        """Start everything that is not running, and wait until it responds."""
        self._servers.up()
        self._relay.start()  # while the service starts
        self.api.wait()

    def _program(self, name: str) -> Program:
        return self.api if name == "api" else self._relay

    # One kill at one step.

    def kill_at(self, at: AtStep, key: str, report: Report) -> dict[str, Any]:
        """Kill the target at a step of an order, recover, retry, and return the order."""
        report(f"killing {at}")
        self.heal()
        if at.step in RELAY_STEPS:
            self._kill_while_relaying(at, key)
        else:
            self._kill_while_placing(at, key)
        self.heal()
        return self._order_until_placed(key)

    def _kill_while_placing(self, at: AtStep, key: str) -> None:
        if at.target == "api":
            self.api.start(crash_at=(at.moment, at.step))
            self.api.wait(restart=False)
            self._order(key)
            self.api.wait_until_killed()
            return
        limits = Limits(connections=2, wait_seconds=5, answer_seconds=5)
        with (
            connect_pooled(locate(self._servers.settings), limits=limits) as pooled,
            self._killing(at) as hook,
            pooled.explaining(),
        ):
            Orders.of(pooled, hook=hook).place(*_order_of(key), key=key)

    def _kill_while_relaying(self, at: AtStep, key: str) -> None:
        self._relay.kill()
        self._order_until_placed(key)
        if at.target == "relay":
            self._relay.start(crash_at=(at.moment, at.step))
            self._relay.wait_until_killed()
            return
        with self._stores() as stores, self._killing(at) as hook, stores.explaining():
            relay(stores, hook=hook)

    @contextlib.contextmanager
    def _killing(self, at: AtStep) -> Iterator[StepHook]:
        """Yield a hook that kills the target at its step, and suppress the errors that follow."""
        hit = threading.Event()

        def hook(moment: str, step: str) -> None:
            if (moment, step) == (at.moment, at.step) and not hit.is_set():
                hit.set()
                self.kill(at.target)

        with contextlib.suppress(CourseError):
            yield hook
        assert hit.is_set(), f"{at} was never reached"

    def _order(self, key: str) -> Any:
        """Send the order to the service once; return it, or ``None`` if that fails."""
        product, quantity, customer = _order_of(key)
        order = {"product_id": product, "quantity": quantity, "customer_id": customer}
        headers = {**self.api.headers, "Idempotency-Key": key}
        with contextlib.suppress(httpx.TransportError):
            url = f"{self.api.url}/api/orders"
            response = httpx.post(url, json=order, headers=headers, timeout=HANG_SECONDS)
            if response.status_code == 201:
                return response.json()
        return None

    def _order_until_placed(self, key: str) -> dict[str, Any]:
        deadline = time.monotonic() + HANG_SECONDS
        while (order := self._order(key)) is None:
            assert time.monotonic() < deadline, f"{key} cannot be ordered: {self.api.log_tail()}"
            time.sleep(0.05)
        found: dict[str, Any] = order
        return found

    # Kills under load.

    def kill_under_load(self, plan: Plan, report: Report) -> Responses:
        """Run the clients and the kills of the plan; return the responses."""
        self.heal()
        buyers = Buyers(self.api.url, self.api.headers, products=PRODUCTS, seed=plan.seed)
        buyers.start()
        for kill in plan.under_load:
            self._kill_and_restart(kill, report)
        time.sleep(1)
        return buyers.finish()

    def _kill_and_restart(self, kill: UnderLoad, report: Report) -> None:
        time.sleep(kill.wait)
        report(f"killing {kill}")
        for target in kill.targets:
            self.kill(target)
        time.sleep(kill.down_seconds)
        self.heal()

    # Afterwards.

    def wait_until_settled(self) -> None:
        """Wait until everything is relayed, and expire all reservations."""
        self.heal()
        with self._stores() as stores:
            deadline = time.monotonic() + HANG_SECONDS
            while outbox_rows(stores):
                assert time.monotonic() < deadline, f"no progress: {self._relay.log_tail()}"
                time.sleep(0.05)
            stock = Stock.of(stores)
            later = 1000 * (time.time() + 3600)
            stock.reservations._clock = lambda: round(later)
            reconcile(stock, in_doubt_seconds=0)
            while outbox_rows(stores):
                time.sleep(0.05)

    def read_orders(self) -> dict[int, tuple[int, int, int]]:
        """Return product, quantity and customer of each order."""
        with self._stores() as stores:
            rows = stores.postgres.execute(
                "SELECT id, product_id, quantity, customer_id FROM orders"
            ).fetchall()
        found = {number: (product, units, customer) for number, product, units, customer in rows}
        assert len(found) == len(rows), "two orders have the same number"
        return found

    def assert_consistent(
        self, acknowledged: Mapping[str, dict[str, Any]], refused: Collection[str] = ()
    ) -> None:
        """Assert that no order is lost or duplicated, and that all stores agree."""
        orders = self.read_orders()
        for key, order in acknowledged.items():
            expected = (order["product_id"], order["quantity"], order["customer_id"])
            assert orders.get(order["id"]) == expected, f"{key} was acknowledged and is lost"
        with self._stores() as stores:
            rows = stores.postgres.execute("SELECT key, order_id FROM order_keys").fetchall()
            keys: dict[str, int] = dict(rows)
            for key, order in acknowledged.items():
                assert keys[key] == order["id"], f"{key} belongs to another order"
            assert not set(refused) & set(keys), "a refused order was placed"
            assert len(orders) == len(keys), "an order is duplicated, or has no key"
            assert set(keys) == set(acknowledged), "an order has an unknown key"
            units = ordered(stores)
            for product, available in self._stock.items():
                assert units[product] <= available, f"product {product} was oversold"
            assert_nothing_open(stores)
            assert_keys_agree(stores)
            assert_relayed(stores)
            assert_all_agree(stores)
            found = reconcile(Stock.of(stores), in_doubt_seconds=0).findings
            assert found == [], found

    def _stores(self) -> Stores:
        return open_shop(self._servers.settings)


def _order_of(key: str) -> tuple[int, int, int]:
    """Return product, quantity and customer of a key's order; the products are on both workers."""
    number = int(key.rpartition("-")[2])
    return SCARCE + 1 + number % (PRODUCTS - SCARCE), 1, 7


@contextlib.contextmanager
def _open_shop(folder: Path) -> Iterator[Shop]:
    with start_temporary_servers() as servers, contextlib.ExitStack() as opened:
        with open_shop(servers.settings) as stores:
            fill(stores, PRODUCTS, orders=False)
            stock = Stock.of(stores)
            for product in range(1, PRODUCTS + 1):
                stock.set_on_hand(product, FEW if product <= SCARCE else 1000)
            environ = environment_of(stores)
        api = Api(environ, folder / "api.log", secrets.token_urlsafe(24))
        relay_program = Relay(environ, folder / "relay.log")
        opened.callback(api.kill)
        opened.callback(relay_program.kill)
        yield Shop(servers, api, relay_program)
