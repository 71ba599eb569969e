"""Any sequence of steps and crashes, compared with a model of the stock in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.errors import ReservationError, SoldOutError
from helpers.stock import Ledger, Stock, reconcile
from helpers.stock.ledger import OneConnection
from helpers.stores import Stores
from tests.e2e.stock.test_buyers import patient
from tests.stock.agreement import assert_agreement, on_hand, reservations
from tests.stock.conftest import Clock

PRODUCTS = {1: 12, 2: 8, 3: 0}
CRASHES = ("before confirm", "before record", "before finish")


@dataclass
class Model:
    """The expected stock: units on hand, and each reservation's state, items and deadline."""

    on_hand: dict[int, int] = field(default_factory=lambda: dict(PRODUCTS))
    state: dict[str, str] = field(default_factory=dict)
    items: dict[str, dict[int, int]] = field(default_factory=dict)
    deadline: dict[str, int] = field(default_factory=dict)

    def open(self) -> list[str]:
        return [token for token, state in self.state.items() if state in ("reserved", "confirming")]

    def available(self, product: int) -> int:
        reserved = sum(self.items[token].get(product, 0) for token in self.open())
        return self.on_hand[product] - reserved

    def sell(self, token: str) -> None:
        for product, units in self.items[token].items():
            self.on_hand[product] -= units


class StockMachine(RuleBasedStateMachine):
    """Reserve, confirm, release, expire, restock, reconcile and crash; compare with the model."""

    shop: ClassVar[Stores]
    server: ClassVar[TemporaryValkey]

    tokens: Bundle[str] = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.client = patient(self.server.url)
        self.client.flushall()
        self.shop.postgres.execute("DELETE FROM stock_movements")
        ledger = Ledger(OneConnection(self.shop.postgres))
        ledger.set_on_hand(PRODUCTS)
        self.stock = Stock(self.client, ledger, clock=self.clock)
        self.model = Model()
        self.names = 0

    def teardown(self) -> None:
        reconcile(self.stock, in_doubt_seconds=0)
        assert_agreement(self.shop.postgres, self.client)
        open_states = {state for state, _ in reservations(self.client).values()} - {"reserved"}
        assert open_states <= {"confirmed", "released", "expired"}
        self.client.close()

    @initialize(
        target=tokens,
        baskets=st.lists(
            st.dictionaries(st.sampled_from([1, 2]), st.integers(1, 2), min_size=1),
            min_size=3,
            max_size=4,
        ),
    )
    def open_the_shop(self, baskets: list[dict[int, int]]) -> Any:
        """Start with some reservations, since most rules need one."""
        return multiple(*(self.reserve(items, 100) for items in baskets))

    @rule(
        target=tokens,
        items=st.dictionaries(st.sampled_from([1, 1, 2, 2, 3]), st.integers(1, 3), min_size=1),
        hold=st.sampled_from([10, 100]),
    )
    def reserve_some(self, items: dict[int, int], hold: int) -> Any:
        return self.reserve(items, hold) or multiple()

    def reserve(self, items: dict[int, int], hold: int) -> str | None:
        self.names += 1
        token = f"r{self.names}"
        fits = all(units <= self.model.available(product) for product, units in items.items())
        overdue = [token for token in self.model.open() if self.is_overdue(token)]
        try:
            self.stock.reserve(items, token=token, hold_seconds=hold)
        except SoldOutError:
            assert not fits
            self.expire(overdue)  # it has swept before it failed
            assert any(units > self.model.available(product) for product, units in items.items())
            return None
        if not fits:
            self.expire(overdue)
        assert all(units <= self.model.available(product) for product, units in items.items())
        self.model.state[token] = "reserved"
        self.model.deadline[token] = self.clock() + 1000 * hold
        self.model.items[token] = items
        return token

    @rule(token=tokens)
    def reserve_again(self, token: str) -> None:
        if self.model.state[token] in ("reserved", "confirming", "confirmed"):
            before = self.stock.read(PRODUCTS)
            self.stock.reserve(self.model.items[token], token=token)
            assert self.stock.read(PRODUCTS) == before

    @rule(token=tokens)
    def confirm(self, token: str) -> None:
        state = self.model.state[token]
        if state == "reserved" and self.is_overdue(token):
            state = self.model.state[token] = "expired"
        try:
            self.stock.confirm(token)
        except ReservationError as error:
            assert state in ("expired", "released", "unknown", "lost")
            assert error.state == ("unknown" if state == "lost" else state)
        else:
            assert state in ("reserved", "confirming", "recorded", "confirmed")
            if state in ("reserved", "confirming"):
                self.model.sell(token)
            self.model.state[token] = "confirmed"

    @rule(token=tokens)
    def release(self, token: str) -> None:
        state = self.model.state[token]
        try:
            self.stock.release(token)
        except ReservationError:
            assert state in ("confirmed", "confirming", "recorded", "unknown", "lost")
        else:
            assert state in ("reserved", "released", "expired")
            if state == "reserved":
                self.model.state[token] = "released"

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.move(seconds)

    @rule()
    def sweep(self) -> None:
        overdue = [token for token in self.model.open() if self.is_overdue(token)]
        assert sorted(self.stock.sweep()) == sorted(overdue)
        self.expire(overdue)

    @rule(product=st.sampled_from(list(PRODUCTS)), units=st.integers(1, 3))
    def restock(self, product: int, units: int) -> None:
        self.stock.restock(product, units)
        self.model.on_hand[product] += units

    @rule(token=tokens, crash=st.sampled_from(CRASHES), retried=st.booleans())
    def crash_while_confirming(self, token: str, crash: str, retried: bool) -> None:
        """Crash between two steps of a confirmation; sometimes, confirm it again."""
        if self.model.state[token] == "reserved" and not self.is_overdue(token):
            reservation = self.stock.reservations.find(token)
            assert reservation is not None
            if crash != "before confirm":
                assert self.stock.reservations.start_confirmation(reservation) == "confirming"
                self.model.state[token] = "confirming"
            if crash == "before finish":
                assert self.stock.ledger.record_sale(token, reservation.items) == "sold"
                self.model.sell(token)
                self.model.state[token] = "recorded"
            if retried:
                self.confirm(token)

    @rule()
    def crash_of_the_server(self) -> None:
        self.server.kill()
        self.server.start()

    @rule(product=st.sampled_from(list(PRODUCTS)))
    def lose_a_count(self, product: int) -> None:
        self.client.delete(f"stock:{product}")

    @rule(product=st.sampled_from(list(PRODUCTS)), count=st.integers(-3, 9))
    def spoil_a_count_and_reconcile(self, product: int, count: int) -> None:
        self.client.set(f"stock:{product}", count)
        self.reconcile()

    @rule()
    def reconcile(self) -> None:
        reconcile(self.stock, in_doubt_seconds=0)
        self.expire([token for token in self.model.open() if self.is_overdue(token)])
        for token, state in self.model.state.items():
            if state == "confirming":
                self.model.state[token] = "released"
            elif state == "recorded":
                self.model.state[token] = "confirmed"
        assert_agreement(self.shop.postgres, self.client)
        assert reconcile(self.stock, in_doubt_seconds=0).findings == []

    @precondition(lambda self: self.names % 6 == 5)
    @rule()
    def lose_everything(self) -> None:
        """Redis loses all data: open reservations are unknown, sales are still in the ledger."""
        self.client.flushall()
        for token in self.model.open():
            self.model.state[token] = "unknown"
        for token, state in self.model.state.items():
            if state in ("released", "expired"):
                self.model.state[token] = "unknown"
            elif state in ("confirmed", "recorded"):
                self.model.state[token] = "lost"  # in Redis; the ledger has the sale

    @invariant()
    def counts_match_the_model(self) -> None:
        assert self.stock.read(PRODUCTS) == {
            product: self.model.available(product) for product in PRODUCTS
        }

    @invariant()
    def the_ledger_matches_the_model(self) -> None:
        assert on_hand(self.shop.postgres) == self.model.on_hand

    def is_overdue(self, token: str) -> bool:
        return self.model.state[token] == "reserved" and self.clock() >= self.model.deadline[token]

    def expire(self, tokens: list[str]) -> None:
        for token in tokens:
            self.model.state[token] = "expired"


@pytest.mark.servers
@pytest.mark.parametrize(
    ("examples", "steps"), [(4, 12), pytest.param(40, 30, marks=pytest.mark.verify)]
)
def test_ledger_counts_and_reservations_agree_after_any_sequence_of_steps(
    shop: Stores, examples: int, steps: int
) -> None:
    with temporary_valkey() as server:
        machine: Any = type("Machine", (StockMachine,), {"shop": shop, "server": server})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
