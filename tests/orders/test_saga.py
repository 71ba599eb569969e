"""The saga: the code makes exactly the transitions of its table, and hooks see every step."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any, get_args

import psycopg
import pymongo.errors
import pytest
import redis

from helpers.errors import ReservationError, StockError
from helpers.orders import outbox
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.orders.saga import RECOVERY, STEPS, TRANSITIONS, StepName, state_of
from helpers.stock import State, reconcile
from helpers.stock.states import Transition
from helpers.stock.step_hooks import Moment
from helpers.stores import Stores
from tests.orders.agreement import assert_consistent, assert_relayed, ordered
from tests.orders.test_orders_failures import CrashError, fail, in_an_hour

PLACING, RELAYING = [step.name for step in STEPS[:4]], [step.name for step in STEPS[4:]]
NAMES = [*PLACING, *RELAYING]
POINTS: list[tuple[Moment, StepName]] = list(itertools.product(get_args(Moment), NAMES))
STATES = {state for before, _, after in TRANSITIONS for state in (before, after)}
FINAL = {State.COMPLETED, State.RELEASED, State.EXPIRED}

#: In which state each crash leaves an order.
LEFT: dict[tuple[Moment, str], State] = {
    ("before", "reserve"): State.UNKNOWN,
    ("after", "reserve"): State.RESERVED,
    ("before", "confirm"): State.RESERVED,
    ("after", "confirm"): State.CONFIRMING,
    ("before", "record"): State.CONFIRMING,
    ("after", "record"): State.RECORDED,
    ("before", "finish"): State.RECORDED,
    ("after", "finish"): State.CONFIRMED,
    ("before", "relay"): State.CONFIRMED,
    ("after", "relay"): State.RELAYED,
    ("before", "acknowledge"): State.RELAYED,
    ("after", "acknowledge"): State.COMPLETED,
}


class Crash:
    """A hook that simulates a crash of the process before or after one step."""

    def __init__(self, moment: Moment, step: str, error: Exception | None = None) -> None:
        self._at = (moment, step)
        self._error = error or CrashError()
        self.calls: list[tuple[str, str]] = []

    def __call__(self, moment: Moment, step: str) -> None:
        self.calls.append((moment, step))
        if self._at == (moment, step):
            raise self._error


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all stock counts in Redis."""
    orders.stock.read(range(1, 6))
    return orders


def crash(shop: Stores, moment: Moment, step: str, token: str) -> None:
    """Order 3 units of product 1 and relay the order; crash before or after a step."""
    hook = Crash(moment, step)
    orders = Orders.of(shop, hook)

    def act() -> None:
        orders.place(1, 3, 7, token=token)
        relay(shop, hook=hook)

    with pytest.MonkeyPatch.context() as patch:
        # A crashed process does not release its units.
        patch.setattr(orders, "_release", lambda _: None)
        with pytest.raises(CrashError):
            act()


def recover(orders: Orders, shop: Stores) -> None:
    """Move the clock by an hour, reconcile, and relay everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders.stock.reservations, "_clock", in_an_hour(shop))
        reconcile(orders.stock, in_doubt_seconds=0)
        while relay(shop):
            pass


def test_states_without_outgoing_transitions_are_final() -> None:
    assert STATES - {before for before, _, _ in TRANSITIONS} == FINAL
    assert {State.UNKNOWN, *(after for _, _, after in TRANSITIONS)} == STATES == {*State}
    assert len({*TRANSITIONS}) == len(TRANSITIONS)
    assert {*NAMES} <= {name for _, name, _ in TRANSITIONS}


def test_recovery_maps_every_other_state_to_a_reachable_final_state() -> None:
    assert {*RECOVERY} == STATES - FINAL - {State.UNKNOWN}
    for state, end in RECOVERY.items():
        reached, left = set[State](), {state}
        while left:
            reached |= left
            left = {after for before, _, after in TRANSITIONS if before in left} - reached
        assert end in FINAL & reached


def test_steps_describe_their_change_recovery_and_time_limit() -> None:
    assert list(get_args(StepName)) == NAMES
    assert [step.store for step in STEPS] == (
        ["Redis", "Redis", "PostgreSQL", "Redis", "MongoDB", "PostgreSQL"]
    )
    for step in STEPS:
        for text in (step.does, step.recovery, step.bound):
            assert text.endswith(".")
            assert text[0].isupper()


def test_hooks_are_called_before_and_after_every_step_in_order(
    orders: Orders, shop: Stores
) -> None:
    calls: list[tuple[str, str]] = []
    hooked = Orders(orders.stock, lambda *arguments: calls.append(arguments))
    hooked.place(1, 3, 7, key="k")
    assert calls == [(moment, step) for step in PLACING for moment in ("before", "after")]
    calls.clear()
    relay(shop, hook=lambda *arguments: calls.append(arguments))
    assert calls == [(moment, step) for step in RELAYING for moment in ("before", "after")]
    calls.clear()
    relay(shop, hook=lambda *arguments: calls.append(arguments))
    hooked.place(1, 3, 7, key="k")
    assert calls == [], "no step runs again"
    with pytest.raises(ReservationError):
        hooked.place(1, 2, 7, key="k")
    assert calls == []


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        # A crash before a step leaves the stores as a crash after the previous step does.
        pytest.param(*point, marks=() if point[0] == "after" else pytest.mark.verify)
        for point in POINTS
    ],
)
def test_recovery_brings_an_order_to_a_final_state_after_a_crash_at_any_step(
    orders: Orders, shop: Stores, moment: Moment, step: StepName
) -> None:
    token = orders.new_token()
    crash(shop, moment, step, token)
    left = state_of(shop, 1, token)
    assert left == LEFT[moment, step]
    recover(orders, shop)
    end = RECOVERY.get(left, left)
    assert state_of(shop, 1, token) == end
    assert ordered(shop) == ({1: 3} if end == State.COMPLETED else {})
    assert_relayed(shop)
    assert_consistent(orders, shop)


@pytest.fixture
def transitions(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], set[Transition]]:
    """Record the transitions that every change in a store causes.

    Call it with a token to record that order's transitions from now on; it returns the set.
    """
    token, seen = "", set[Transition]()

    def spy(owner: object, name: str, step_of: Callable[[Any], str]) -> None:
        change = getattr(owner, name)

        def spying(*arguments: Any, **options: Any) -> Any:
            before = state_of(shop, 1, token)
            result = change(*arguments, **options)
            after = state_of(shop, 1, token)
            if before != after:
                seen.add((before, step_of(result), after))
            return result

        monkeypatch.setattr(owner, name, spying)

    reservations, ledger = orders.stock.reservations, orders.stock.ledger
    for name in ("reserve", "release", "expire", "cancel"):
        spy(reservations, name, lambda _, name=name: name)  # type: ignore[misc]
    spy(reservations, "start_confirmation", lambda _: "confirm")
    spy(reservations, "finish_confirmation", lambda _: "finish")
    spy(ledger, "record_sale", lambda outcome: "record" if outcome == "sold" else "reject")
    spy(ledger, "cancel", lambda _: "reject")
    spy(outbox, "_write", lambda _: "relay")
    spy(outbox, "_delete", lambda _: "acknowledge")

    def record(order_token: str) -> set[Transition]:
        nonlocal token
        token = order_token
        return seen

    return record


Act = Callable[[str], object]


class Acts:
    """Everything that may happen to an order of 1 unit of product 1 under a token."""

    def __init__(self, orders: Orders, shop: Stores) -> None:
        self._orders, self._shop = orders, shop

    def place(self, token: str) -> None:
        Orders(self._orders.stock).place(1, 1, 7, token=token)

    def abort(self, token: str) -> None:
        """Fail while the units are reserved, and release them."""
        Orders(self._orders.stock, Crash("before", "confirm")).place(1, 1, 7, token=token)

    def die(self, moment: Moment, step: str) -> Act:
        """Return an act that starts to place the order and crashes at this point."""

        def dying(token: str) -> None:
            with pytest.MonkeyPatch.context() as patch:
                hooked = Orders(self._orders.stock, Crash(moment, step))
                patch.setattr(hooked, "_release", lambda _: None)
                hooked.place(1, 1, 7, token=token)

        return dying

    def relay_until(self, moment: Moment, step: str) -> Act:
        return lambda _: relay(self._shop, hook=Crash(moment, step))

    def decide(self, _: str) -> None:
        reconcile(self._orders.stock, in_doubt_seconds=0)

    def decide_and_die(self, _: str) -> None:
        """Reconcile, and crash between the ledger and Redis."""
        with pytest.MonkeyPatch.context() as patch:
            fail(patch, self._orders.stock.reservations, "cancel", CrashError())
            reconcile(self._orders.stock, in_doubt_seconds=0)

    def oversell(self, token: str) -> None:
        """Place an order of units that Redis has and the ledger does not."""
        self._orders.stock.ledger.set_on_hand({1: 0})
        try:
            self.place(token)
        finally:
            self._orders.stock.set_on_hand(1, 10)

    def recover(self, _: str) -> None:
        recover(self._orders, self._shop)


@pytest.mark.verify
def test_the_code_makes_exactly_the_transitions_of_the_table(
    orders: Orders, shop: Stores, transitions: Callable[[str], set[Transition]]
) -> None:
    """After every crash, try everything that may happen next."""
    acts = Acts(orders, shop)
    deaths = [acts.die(*point) for point in POINTS if point[1] in PLACING]
    relays = [acts.relay_until(*point) for point in POINTS if point[1] in RELAYING]
    nexts = [acts.place, acts.abort, acts.decide, acts.decide_and_die, acts.oversell, acts.recover]
    seen: set[Transition] = set()
    for sequence in itertools.product(deaths, [*nexts, *relays]):
        orders.stock.set_on_hand(1, 10)
        token = orders.new_token()
        seen = transitions(token)
        for act in (*sequence, acts.place, acts.recover):
            with contextlib.suppress(CrashError, StockError):
                act(token)
        assert seen <= {*TRANSITIONS}
        assert state_of(shop, 1, token) in FINAL
    assert seen == {*TRANSITIONS}
    assert_relayed(shop)
    assert_consistent(orders, shop)


@pytest.mark.parametrize(
    ("moment", "step", "error", "end"),
    [
        ("before", "confirm", redis.ConnectionError(), State.RELEASED),
        ("after", "confirm", redis.TimeoutError(), State.CONFIRMING),
        ("before", "record", psycopg.OperationalError(), State.CONFIRMING),
        ("after", "record", psycopg.OperationalError(), State.RECORDED),
        ("after", "reserve", redis.TimeoutError(), State.RESERVED),
    ],
)
def test_an_exception_of_a_hook_propagates_as_a_failure_of_the_step(
    orders: Orders, shop: Stores, moment: Moment, step: str, error: Exception, end: State
) -> None:
    token = orders.new_token()
    with pytest.raises(type(error)):
        Orders(orders.stock, Crash(moment, step, error)).place(1, 3, 7, token=token)
    assert state_of(shop, 1, token) == end


@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.verify), "after"])
def test_place_returns_the_order_if_redis_fails_at_the_last_step(
    orders: Orders, shop: Stores, moment: Moment
) -> None:
    hooked = Orders(orders.stock, Crash(moment, "finish", redis.ConnectionError()))
    order = hooked.place(1, 3, 7)
    assert orders.find(order.id) == order
    recover(orders, shop)
    assert_consistent(orders, shop, [order])


@pytest.mark.parametrize("step", [pytest.param("relay", marks=pytest.mark.verify), "acknowledge"])
def test_rows_stay_in_the_outbox_if_the_relay_fails(
    orders: Orders, shop: Stores, step: str
) -> None:
    orders.place(1, 3, 7)
    with pytest.raises(pymongo.errors.AutoReconnect):
        relay(shop, hook=Crash("before", step, pymongo.errors.AutoReconnect()))
    assert relay(shop) == 1
    assert_relayed(shop)


def test_state_of_raises_stock_error_for_invalid_arguments(shop: Stores) -> None:
    with pytest.raises(StockError, match="is not a valid product id"):
        state_of(shop, 0, "order-1000000000001")
    with pytest.raises(StockError, match="is not the token of an order"):
        state_of(shop, 1, "r1")
