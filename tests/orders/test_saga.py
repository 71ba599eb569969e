"""The saga: its table of states is what the code does, and each step tells who watches."""

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
from helpers.orders.order_states import state_of
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.orders.saga import RECOVERY, STATES, STEPS, TRANSITIONS, State, StepName
from helpers.plots.state_diagrams import describe_states, draw_states
from helpers.stock import reconcile
from helpers.stock.step_hooks import Moment
from helpers.stores import Stores
from tests.orders.agreement import assert_carried, assert_whole, ordered
from tests.orders.test_orders_failures import CrashError, fail, in_an_hour

PLACING, RELAYING = [one.name for one in STEPS[:4]], [one.name for one in STEPS[4:]]
NAMES = [*PLACING, *RELAYING]
POINTS: list[tuple[Moment, StepName]] = list(itertools.product(get_args(Moment), NAMES))
FINAL = {"complete", "released", "expired", "cancelled"}

#: In which state each crash leaves an order.
LEFT: dict[tuple[Moment, str], State] = {
    ("before", "reserve"): "wanted",
    ("after", "reserve"): "reserved",
    ("before", "claim"): "reserved",
    ("after", "claim"): "claimed",
    ("before", "record"): "claimed",
    ("after", "record"): "recorded",
    ("before", "settle"): "recorded",
    ("after", "settle"): "settled",
    ("before", "carry"): "settled",
    ("after", "carry"): "carried",
    ("before", "delete"): "carried",
    ("after", "delete"): "complete",
}


class Crash:
    """A hook that ends the process, as far as the shop can tell, at one moment of one step."""

    def __init__(self, moment: Moment, step: str, error: Exception | None = None) -> None:
        self._at = (moment, step)
        self._error = error or CrashError()
        self.told: list[tuple[str, str]] = []

    def __call__(self, moment: Moment, step: str) -> None:
        self.told.append((moment, step))
        if self._at == (moment, step):
            raise self._error


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all counts read."""
    orders.stock.read(range(1, 6))
    return orders


def crash(shop: Stores, moment: Moment, step: str, token: str) -> None:
    """Begin to order 3 units of product 1, and carry them; crash on the way."""
    hook = Crash(moment, step)
    orders = Orders.of(shop, hook)

    def act() -> None:
        orders.place(1, 3, 7, token=token)
        relay(shop, hook=hook)

    with pytest.MonkeyPatch.context() as patch:
        # Who is dead gives nothing back.
        patch.setattr(orders, "_give_up", lambda _: None)
        with pytest.raises(CrashError):
            act()


def recover(orders: Orders, shop: Stores) -> None:
    """Let an hour pass, reconcile and carry everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders.stock.reservations, "_clock", in_an_hour(shop))
        reconcile(orders.stock, in_doubt_seconds=0)
        while relay(shop):
            pass


def test_the_states_that_nothing_leaves_are_the_final_ones() -> None:
    assert {*STATES} - {source for source, _, _ in TRANSITIONS} == FINAL
    assert {*STATES} == {"wanted", *(target for _, _, target in TRANSITIONS)}
    assert len({*TRANSITIONS}) == len(TRANSITIONS)
    assert {*NAMES} <= {name for _, name, _ in TRANSITIONS}


def test_recovery_brings_every_other_state_to_a_final_one_that_can_be_reached() -> None:
    assert {*RECOVERY} == {*STATES} - FINAL - {"wanted"}
    for state, end in RECOVERY.items():
        reached, left = set[State](), {state}
        while left:
            reached |= left
            left = {to for source, _, to in TRANSITIONS if source in left} - reached
        assert end in FINAL & reached


def test_the_steps_say_what_they_do_and_what_ends_them() -> None:
    assert list(get_args(StepName)) == NAMES
    assert [one.store for one in STEPS] == (
        ["Redis", "Redis", "PostgreSQL", "Redis", "MongoDB", "PostgreSQL"]
    )
    for one in STEPS:
        for text in (one.does, one.recovery, one.bound):
            assert text.endswith(".")
            assert text[0].isupper()


def test_the_table_can_be_drawn_and_told() -> None:
    draw_states(STATES, TRANSITIONS).draw_without_rendering()
    told = describe_states(STATES, TRANSITIONS)
    assert told.startswith("Begins as wanted.\nFrom wanted: to reserved by reserve.")
    assert told.endswith("Final: complete, released, expired, cancelled.")


def test_who_watches_is_told_of_every_step_in_its_order(orders: Orders, shop: Stores) -> None:
    told: list[tuple[str, str]] = []
    watching = Orders(orders.stock, lambda *arguments: told.append(arguments))
    watching.place(1, 3, 7, key="k")
    assert told == [(moment, step) for step in PLACING for moment in ("before", "after")]
    told.clear()
    relay(shop, hook=lambda *arguments: told.append(arguments))
    assert told == [(moment, step) for step in RELAYING for moment in ("before", "after")]
    told.clear()
    relay(shop, hook=lambda *arguments: told.append(arguments))
    watching.place(1, 3, 7, key="k")
    assert told == [], "nothing was done again"
    with pytest.raises(ReservationError):
        watching.place(1, 2, 7, key="k")
    assert told == []


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        # Before a step is after the one before it, for all that the stores know.
        pytest.param(*point, marks=() if point[0] == "after" else pytest.mark.verify)
        for point in POINTS
    ],
)
def test_a_crash_leaves_the_order_in_the_state_of_its_step_and_recovery_ends_it(
    orders: Orders, shop: Stores, moment: Moment, step: StepName
) -> None:
    token = orders.new_token()
    crash(shop, moment, step, token)
    left = state_of(shop, 1, token)
    assert left == LEFT[moment, step]
    recover(orders, shop)
    end = RECOVERY.get(left, left)
    assert state_of(shop, 1, token) == end
    assert ordered(shop) == ({1: 3} if end == "complete" else {})
    assert_carried(shop)
    assert_whole(orders, shop)


Move = tuple[str, str, str]


@pytest.fixture
def moves(orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """What spies on every change that the code makes in a store, and keeps its moves.

    Given a token, it begins with that order; it returns what the order was moved by since.
    """
    token, seen = "", set[Move]()

    def spy(where: object, name: str, called: Callable[[Any], str]) -> None:
        change = getattr(where, name)

        def spying(*arguments: Any, **options: Any) -> Any:
            before = state_of(shop, 1, token)
            answer = change(*arguments, **options)
            after = state_of(shop, 1, token)
            if before != after:
                seen.add((before, called(answer), after))
            return answer

        monkeypatch.setattr(where, name, spying)

    reservations, ledger = orders.stock.reservations, orders.stock.ledger
    for name in ("reserve", "claim", "settle", "release", "expire", "cancel"):
        spy(reservations, name, lambda _, name=name: name)  # type: ignore[misc]
    spy(ledger, "record_sale", lambda outcome: "record" if outcome == "sold" else "refuse")
    spy(ledger, "cancel", lambda _: "refuse")
    spy(outbox, "_write", lambda _: "carry")
    spy(outbox, "_delete", lambda _: "delete")

    def begin(about: str) -> set[Move]:
        nonlocal token
        token = about
        return seen

    return begin


Act = Callable[[str], object]


class Acts:
    """All that anybody may do to an order under a token: 1 unit of product 1."""

    def __init__(self, orders: Orders, shop: Stores) -> None:
        self._orders, self._shop = orders, shop

    def place(self, token: str) -> None:
        Orders(self._orders.stock).place(1, 1, 7, token=token)

    def abort(self, token: str) -> None:
        """Fail where the units are still held, and give them back."""
        Orders(self._orders.stock, Crash("before", "claim")).place(1, 1, 7, token=token)

    def die(self, moment: Moment, step: str) -> Act:
        """Return what begins to place the order, and then does nothing more."""

        def dying(token: str) -> None:
            with pytest.MonkeyPatch.context() as patch:
                watched = Orders(self._orders.stock, Crash(moment, step))
                patch.setattr(watched, "_give_up", lambda _: None)
                watched.place(1, 1, 7, token=token)

        return dying

    def relay_until(self, moment: Moment, step: str) -> Act:
        return lambda _: relay(self._shop, hook=Crash(moment, step))

    def decide(self, _: str) -> None:
        reconcile(self._orders.stock, in_doubt_seconds=0)

    def decide_and_die(self, _: str) -> None:
        """Die between the ledger and Redis."""
        with pytest.MonkeyPatch.context() as patch:
            fail(patch, self._orders.stock.reservations, "cancel", CrashError())
            reconcile(self._orders.stock, in_doubt_seconds=0)

    def oversell(self, token: str) -> None:
        """Place what Redis promises and the ledger does not have."""
        self._orders.stock.ledger.set_on_hand({1: 0})
        try:
            self.place(token)
        finally:
            self._orders.stock.set_on_hand(1, 10)

    def recover(self, _: str) -> None:
        recover(self._orders, self._shop)


@pytest.mark.verify
def test_the_codes_own_moves_are_exactly_those_of_the_table(
    orders: Orders, shop: Stores, moves: Callable[[str], set[Move]]
) -> None:
    """From each state that a crash leaves, all that anybody may do next: the table has no more."""
    acts = Acts(orders, shop)
    deaths = [acts.die(*point) for point in POINTS if point[1] in PLACING]
    relays = [acts.relay_until(*point) for point in POINTS if point[1] in RELAYING]
    nexts = [acts.place, acts.abort, acts.decide, acts.decide_and_die, acts.oversell, acts.recover]
    seen: set[Move] = set()
    for way in itertools.product(deaths, [*nexts, *relays]):
        orders.stock.set_on_hand(1, 10)
        token = orders.new_token()
        seen = moves(token)
        for act in (*way, acts.place, acts.recover):
            with contextlib.suppress(CrashError, StockError):
                act(token)
        assert seen <= {*TRANSITIONS}
        assert state_of(shop, 1, token) in FINAL
    assert seen == {*TRANSITIONS}
    assert_carried(shop)
    assert_whole(orders, shop)


@pytest.mark.parametrize(
    ("moment", "step", "error", "end"),
    [
        ("before", "claim", redis.ConnectionError(), "released"),
        ("after", "claim", redis.TimeoutError(), "claimed"),
        ("before", "record", psycopg.OperationalError(), "claimed"),
        ("after", "record", psycopg.OperationalError(), "recorded"),
        ("after", "reserve", redis.TimeoutError(), "reserved"),
    ],
)
def test_what_a_watch_raises_passes_as_the_steps_own_failure(
    orders: Orders, shop: Stores, moment: Moment, step: str, error: Exception, end: State
) -> None:
    token = orders.new_token()
    with pytest.raises(type(error)):
        Orders(orders.stock, Crash(moment, step, error)).place(1, 3, 7, token=token)
    assert state_of(shop, 1, token) == end


@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.verify), "after"])
def test_an_order_is_acknowledged_though_settling_fails_under_the_watch(
    orders: Orders, shop: Stores, moment: Moment
) -> None:
    watching = Orders(orders.stock, Crash(moment, "settle", redis.ConnectionError()))
    order = watching.place(1, 3, 7)
    assert orders.find(order.id) == order
    recover(orders, shop)
    assert_whole(orders, shop, [order])


@pytest.mark.parametrize("step", [pytest.param("carry", marks=pytest.mark.verify), "delete"])
def test_rows_stay_where_the_relay_fails_under_the_watch(
    orders: Orders, shop: Stores, step: str
) -> None:
    orders.place(1, 3, 7)
    with pytest.raises(pymongo.errors.AutoReconnect):
        relay(shop, hook=Crash("before", step, pymongo.errors.AutoReconnect()))
    assert relay(shop) == 1
    assert_carried(shop)


def test_the_state_of_what_is_no_order_is_refused(shop: Stores) -> None:
    with pytest.raises(StockError, match="is not a valid product id"):
        state_of(shop, 0, "order-1000000000001")
    with pytest.raises(StockError, match="is no order's token"):
        state_of(shop, 1, "r1")
