"""Any sequence of steps, crashes among them, against a model of the stock in plain Python."""

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
CRASHES = ("before the claim", "before the ledger", "before settling")


@dataclass
class Model:
    """What the stock must be: units on hand, and every reservation's state, items and deadline."""

    on_hand: dict[int, int] = field(default_factory=lambda: dict(PRODUCTS))
    state: dict[str, str] = field(default_factory=dict)
    items: dict[str, dict[int, int]] = field(default_factory=dict)
    deadline: dict[str, int] = field(default_factory=dict)

    def open(self) -> list[str]:
        return [one for one, state in self.state.items() if state in ("reserved", "doubtful")]

    def available(self, product: int) -> int:
        reserved = sum(self.items[one].get(product, 0) for one in self.open())
        return self.on_hand[product] - reserved

    def sell(self, token: str) -> None:
        for product, units in self.items[token].items():
            self.on_hand[product] -= units


class StockMachine(RuleBasedStateMachine):
    """Reserve, confirm, release, expire, restock, reconcile, crash: model and stock stay alike."""

    shop: ClassVar[Stores]
    spare: ClassVar[TemporaryValkey]

    tokens: Bundle[str] = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.client = patient(self.spare.url)
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
        """Begin with some reservations, since most rules need one."""
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
        fits = all(units <= self.model.available(one) for one, units in items.items())
        overdue = [one for one in self.model.open() if self.is_overdue(one)]
        try:
            self.stock.reserve(items, token=token, hold_seconds=hold)
        except SoldOutError:
            assert not fits
            self.expire(overdue)  # it has swept before it gave up
            assert any(units > self.model.available(one) for one, units in items.items())
            return None
        if not fits:
            self.expire(overdue)
        assert all(units <= self.model.available(one) for one, units in items.items())
        self.model.state[token] = "reserved"
        self.model.deadline[token] = self.clock() + 1000 * hold
        self.model.items[token] = items
        return token

    @rule(token=tokens)
    def reserve_again(self, token: str) -> None:
        if self.model.state[token] in ("reserved", "doubtful", "confirmed"):
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
            assert state in ("expired", "released", "unknown", "gone")
            assert error.state == ("unknown" if state == "gone" else state)
        else:
            assert state in ("reserved", "doubtful", "sold", "confirmed")
            if state in ("reserved", "doubtful"):
                self.model.sell(token)
            self.model.state[token] = "confirmed"

    @rule(token=tokens)
    def release(self, token: str) -> None:
        state = self.model.state[token]
        try:
            self.stock.release(token)
        except ReservationError:
            assert state in ("confirmed", "doubtful", "sold", "unknown", "gone")
        else:
            assert state in ("reserved", "released", "expired")
            if state == "reserved":
                self.model.state[token] = "released"

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.move(seconds)

    @rule()
    def sweep(self) -> None:
        overdue = [one for one in self.model.open() if self.is_overdue(one)]
        assert sorted(self.stock.sweep()) == sorted(overdue)
        self.expire(overdue)

    @rule(product=st.sampled_from(list(PRODUCTS)), units=st.integers(1, 3))
    def restock(self, product: int, units: int) -> None:
        self.stock.restock(product, units)
        self.model.on_hand[product] += units

    @rule(token=tokens, crash=st.sampled_from(CRASHES), retried=st.booleans())
    def crash_while_confirming(self, token: str, crash: str, retried: bool) -> None:
        """Whoever confirms dies between two steps; it may be that somebody tries once more."""
        if self.model.state[token] == "reserved" and not self.is_overdue(token):
            reservation = self.stock.reservations.find(token)
            assert reservation is not None
            if crash != "before the claim":
                assert self.stock.reservations.start_confirmation(reservation) == "confirming"
                self.model.state[token] = "doubtful"
            if crash == "before settling":
                assert self.stock.ledger.record_sale(token, reservation.items) == "sold"
                self.model.sell(token)
                self.model.state[token] = "sold"
            if retried:
                self.confirm(token)

    @rule()
    def crash_of_the_server(self) -> None:
        self.spare.kill()
        self.spare.start()

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
        self.expire([one for one in self.model.open() if self.is_overdue(one)])
        for token, state in self.model.state.items():
            if state == "doubtful":
                self.model.state[token] = "released"
            elif state == "sold":
                self.model.state[token] = "confirmed"
        assert_agreement(self.shop.postgres, self.client)
        assert reconcile(self.stock, in_doubt_seconds=0).findings == []

    @precondition(lambda self: self.names % 6 == 5)
    @rule()
    def lose_everything(self) -> None:
        """The server loses all that it had: reservations end, sales stand."""
        self.client.flushall()
        for one in self.model.open():
            self.model.state[one] = "unknown"
        for one, state in self.model.state.items():
            if state in ("released", "expired"):
                self.model.state[one] = "unknown"
            elif state in ("confirmed", "sold"):
                self.model.state[one] = "gone"  # and yet sold, as the ledger says

    @invariant()
    def the_counts_are_what_the_model_says(self) -> None:
        assert self.stock.read(PRODUCTS) == {one: self.model.available(one) for one in PRODUCTS}

    @invariant()
    def the_ledger_is_what_the_model_says(self) -> None:
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
def test_any_sequence_of_steps_keeps_ledger_counts_and_reservations_together(
    shop: Stores, examples: int, steps: int
) -> None:
    with temporary_valkey() as spare:
        machine: Any = type("Machine", (StockMachine,), {"shop": shop, "spare": spare})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
