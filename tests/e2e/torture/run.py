"""One run: kill at the steps, kill under load, recover, and see whether all stores agree."""

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
from tests.e2e.torture.buyers import Answers, Buyers
from tests.e2e.torture.plan import CARRYING, SERVERS, AtStep, Plan, UnderLoad
from tests.e2e.torture.programs import HANG_SECONDS, Api, Program, Relay
from tests.orders.agreement import (
    assert_all_agree,
    assert_carried,
    assert_keys_agree,
    assert_nothing_open,
    ordered,
    outbox_rows,
)
from tests.stock.agreement import on_hand

PRODUCTS = 20
#: Of the most wanted products there are few, so that some orders are refused.
SCARCE, FEW = 4, 60

Say = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """What came of a run: how many orders were placed, refused, and asked for again.

    ``slowest`` is how many seconds the service took for its slowest answer.
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
            f"the shop; asked again after {failures or 'nothing'}; the slowest answer took "
            f"{self.slowest:.2f} s"
        )


def torture(plan: Plan, folder: Path, say: Say = lambda _: None) -> Outcome:
    """Carry out a plan. Raises ``AssertionError`` where something was lost, doubled or left."""
    with _open_shop(folder) as shop:
        placed = {
            f"step-{number}": shop.kill_at(at, f"step-{number}", say)
            for number, at in enumerate(plan.at_steps)
        }
        shop.settle()
        shop.assert_whole(placed)
        answers = shop.kill_under_load(plan, say)
        shop.settle()
        shop.assert_whole(placed | answers.acknowledged, answers.refused)
        return Outcome(
            len(answers.acknowledged),
            len(answers.refused),
            answers.failures,
            len(shop.read_orders()),
            shop.api.slowest_seconds(),
        )


class Shop:
    """A shop with all its processes, each of which can be killed and comes back."""

    def __init__(self, servers: EmbeddedServers, api: Api, relay: Relay) -> None:
        self._servers = servers
        self.api = api
        self._relay = relay
        with self._stores() as stores:
            self._stock = on_hand(stores.postgres)

    # Killing and starting.

    def kill(self, victim: str) -> None:
        """End one process or server with SIGKILL."""
        if victim in SERVERS:
            self._servers.server(victim).kill()
        else:
            self._program(victim).kill()

    def heal(self) -> None:
        """Start whatever does not run, and return when it answers."""
        self._servers.up()
        self._relay.start()  # while the service starts
        self.api.wait()

    def _program(self, name: str) -> Program:
        return self.api if name == "api" else self._relay

    # One kill at one step.

    def kill_at(self, at: AtStep, key: str, say: Say) -> dict[str, Any]:
        """Kill the victim at that step of an order, recover, ask again, and return the order."""
        say(f"killing {at}")
        self.heal()
        if at.step in CARRYING:
            self._kill_while_carrying(at, key)
        else:
            self._kill_while_placing(at, key)
        self.heal()
        return self._insist(key)

    def _kill_while_placing(self, at: AtStep, key: str) -> None:
        if at.victim == "api":
            self.api.start(fuse=(at.moment, at.step))
            self.api.wait(again=False)
            self._ask(key)
            self.api.wait_until_it_dies()
            return
        limits = Limits(connections=2, wait_seconds=5, answer_seconds=5)
        with (
            connect_pooled(locate(self._servers.settings), limits=limits) as pooled,
            self._striking(at) as hook,
            pooled.explaining(),
        ):
            Orders.of(pooled, hook=hook).place(*_wanted(key), key=key)

    def _kill_while_carrying(self, at: AtStep, key: str) -> None:
        self._relay.kill()
        self._insist(key)
        if at.victim == "relay":
            self._relay.start(fuse=(at.moment, at.step))
            self._relay.wait_until_it_dies()
            return
        with self._stores() as stores, self._striking(at) as hook, stores.explaining():
            relay(stores, hook=hook)

    @contextlib.contextmanager
    def _striking(self, at: AtStep) -> Iterator[StepHook]:
        """Yield what kills the victim at its step; what somebody is told of that, is his to hear.

        He asks again later.
        """
        hit = threading.Event()

        def hook(moment: str, step: str) -> None:
            if (moment, step) == (at.moment, at.step) and not hit.is_set():
                hit.set()
                self.kill(at.victim)

        with contextlib.suppress(CourseError):
            yield hook
        assert hit.is_set(), f"nobody came to {at}"

    def _ask(self, key: str) -> Any:
        """Ask the service for the order once; ``None`` where it gives none."""
        product, quantity, customer = _wanted(key)
        order = {"product_id": product, "quantity": quantity, "customer_id": customer}
        headers = {**self.api.headers, "Idempotency-Key": key}
        with contextlib.suppress(httpx.TransportError):
            url = f"{self.api.url}/api/orders"
            response = httpx.post(url, json=order, headers=headers, timeout=HANG_SECONDS)
            if response.status_code == 201:
                return response.json()
        return None

    def _insist(self, key: str) -> dict[str, Any]:
        deadline = time.monotonic() + HANG_SECONDS
        while (order := self._ask(key)) is None:
            assert time.monotonic() < deadline, f"{key} cannot be ordered: {self.api.said()}"
            time.sleep(0.05)
        found: dict[str, Any] = order
        return found

    # Kills under load.

    def kill_under_load(self, plan: Plan, say: Say) -> Answers:
        """Let the buyers come, kill what the plan says; return what they were told."""
        self.heal()
        buyers = Buyers(self.api.url, self.api.headers, products=PRODUCTS, seed=plan.seed)
        buyers.start()
        for kill in plan.under_load:
            self._strike(kill, say)
        time.sleep(1)
        return buyers.finish()

    def _strike(self, kill: UnderLoad, say: Say) -> None:
        time.sleep(kill.wait)
        say(f"killing {kill}")
        for victim in kill.victims:
            self.kill(victim)
        time.sleep(kill.away)
        self.heal()

    # After that.

    def settle(self) -> None:
        """Wait until the relay has carried everything; end what an hour ends."""
        self.heal()
        with self._stores() as stores:
            deadline = time.monotonic() + HANG_SECONDS
            while outbox_rows(stores):
                assert time.monotonic() < deadline, f"the relay stands still: {self._relay.said()}"
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
        assert len(found) == len(rows), "two orders have one number"
        return found

    def assert_whole(
        self, acknowledged: Mapping[str, dict[str, Any]], refused: Collection[str] = ()
    ) -> None:
        """Assert what must hold once everything is settled."""
        orders = self.read_orders()
        for key, order in acknowledged.items():
            expected = (order["product_id"], order["quantity"], order["customer_id"])
            assert orders.get(order["id"]) == expected, f"{key} was acknowledged and is lost"
        with self._stores() as stores:
            rows = stores.postgres.execute("SELECT key, order_id FROM order_keys").fetchall()
            keys: dict[str, int] = dict(rows)
            for key, order in acknowledged.items():
                assert keys[key] == order["id"], f"{key} names another order"
            assert not set(refused) & set(keys), "what was refused was ordered"
            assert len(orders) == len(keys), "an order was doubled, or is nobody's"
            assert set(keys) == set(acknowledged), "an order stands under a key of nobody"
            units = ordered(stores)
            for product, there in self._stock.items():
                assert units[product] <= there, f"more of product {product} was sold than there is"
            assert_nothing_open(stores)
            assert_keys_agree(stores)
            assert_carried(stores)
            assert_all_agree(stores)
            found = reconcile(Stock.of(stores), in_doubt_seconds=0).findings
            assert found == [], found

    def _stores(self) -> Stores:
        return open_shop(self._servers.settings)


def _wanted(key: str) -> tuple[int, int, int]:
    """Return product, quantity and customer of an order: of products on either worker."""
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
        carrier = Relay(environ, folder / "relay.log")
        opened.callback(api.kill)
        opened.callback(carrier.kill)
        yield Shop(servers, api, carrier)
