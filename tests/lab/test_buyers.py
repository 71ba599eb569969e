"""The crowd of buyers: planned alike everywhere, let go together, ended together."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from helpers.catalog.zipf import zipf_choices
from helpers.lab.buyers import Act, Ending, PurchaseAttempt, plan_attempts, run_buyers

# Taken once; another machine, Python or order of calls must give them too.
CHOICES = [2, 2, 4, 28, 7, 5, 10, 4, 12, 2, 4, 74]
RANKS_1_2_10 = (19454, 9495, 1845)
PLANS = [
    [
        PurchaseAttempt(0, 10, 1, "release", 0.0),
        PurchaseAttempt(0, 10, 2, "confirm", 0.0),
        PurchaseAttempt(0, 10, 3, "release", 0.5),
    ],
    [PurchaseAttempt(1, 10, 2, "confirm", 0.0), PurchaseAttempt(1, 10, 2, "confirm", 0.5)],
    [PurchaseAttempt(2, 30, 3, "confirm", 0.0), PurchaseAttempt(2, 10, 2, "confirm", 0.5)],
]


def _flat(plans: list[list[PurchaseAttempt]]) -> list[PurchaseAttempt]:
    return [attempt for plan in plans for attempt in plan]


def test_choices_are_the_same_on_every_machine() -> None:
    assert zipf_choices(12, range(1, 101)) == CHOICES
    assert zipf_choices(12, range(1, 101)) == zipf_choices(5000, range(1, 101))[:12]
    assert zipf_choices(12, range(1, 101), seed=2) != CHOICES


def test_choices_follow_zipf() -> None:
    products = list(range(500, 600))
    counts = Counter(zipf_choices(100_000, products))
    assert set(counts) == set(products)
    assert (counts[500], counts[501], counts[509]) == RANKS_1_2_10
    assert counts[500] / counts[501] == pytest.approx(2, rel=0.06)
    assert counts[500] / counts[509] == pytest.approx(10, rel=0.06)


@pytest.mark.parametrize(("exponent", "ratio"), [(0.0, 1.0), (0.5, 10**0.5), (2.0, 100.0)])
def test_the_exponent_says_how_steep(exponent: float, ratio: float) -> None:
    counts = Counter(zipf_choices(100_000, range(1, 21), exponent=exponent))
    assert counts[1] / counts[10] == pytest.approx(ratio, rel=0.1)


def test_plans_are_the_same_on_every_machine() -> None:
    plans = plan_attempts(
        7, buyers=3, products=[10, 20, 30, 40], largest=3, bursts=2, pause=0.5, seed=4
    )
    assert plans == PLANS


def test_plans_hold_what_was_asked_for() -> None:
    attempts = _flat(plan_attempts(10_000, buyers=7, products=range(1, 21), largest=4))
    assert len(attempts) == 10_000
    assert {attempt.quantity for attempt in attempts} == {1, 2, 3, 4}
    assert {attempt.pause for attempt in attempts} == {0.0}
    products = Counter(attempt.product_id for attempt in attempts)
    assert products[1] / products[10] == pytest.approx(10, rel=0.15)
    endings = Counter(attempt.ending for attempt in attempts)
    assert endings["confirm"] / 10_000 == pytest.approx(0.7, abs=0.02)
    assert endings["release"] / 10_000 == pytest.approx(0.2, abs=0.02)
    assert endings["abandon"] / 10_000 == pytest.approx(0.1, abs=0.02)


def test_attempts_are_dealt_evenly() -> None:
    plans = plan_attempts(10, buyers=4, products=[1])
    assert [len(plan) for plan in plans] == [3, 3, 2, 2]
    assert all(a.buyer == number for number, plan in enumerate(plans) for a in plan)
    assert plan_attempts(0, buyers=2, products=[1]) == [[], []]
    assert [len(plan) for plan in plan_attempts(1, buyers=3, products=[1])] == [1, 0, 0]


def test_bursts_are_rests_between_equal_groups() -> None:
    plans = plan_attempts(12, buyers=2, products=[1], bursts=3, pause=0.25)
    assert [[a.pause for a in plan] for plan in plans] == [[0, 0, 0.25, 0, 0.25, 0]] * 2


def test_few_attempts_are_spread_over_the_bursts() -> None:
    """Whoever has fewer attempts than there are bursts rests through those in between."""
    (plan,) = plan_attempts(2, buyers=1, products=[1], bursts=4, pause=1.0)
    assert [attempt.pause for attempt in plan] == [0, 2]


def test_only_weighted_endings_come_and_their_order_does_not_matter() -> None:
    one: dict[Ending, float] = {"release": 1, "abandon": 3, "confirm": 0}
    other: dict[Ending, float] = {"abandon": 3, "release": 1}
    plans = plan_attempts(400, buyers=1, products=[1], endings=one)
    assert {attempt.ending for attempt in plans[0]} == {"release", "abandon"}
    assert plans == plan_attempts(400, buyers=1, products=[1], endings=other)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"count": -1}, "count is -1"),
        ({"buyers": 0}, "buyers is 0"),
        ({"products": []}, "at least one product"),
        ({"exponent": -1.0}, "no exponent for Zipf"),
        ({"exponent": float("nan")}, "no exponent for Zipf"),
        ({"largest": 0}, "largest is 0"),
        ({"bursts": 0}, "bursts is 0"),
        ({"pause": -0.5}, "pause is -0.5 s"),
        ({"endings": {}}, "No ending has a positive weight"),
        ({"endings": {"confirm": -1}}, "has a negative"),
        ({"endings": {"refund": 1}}, "Unknown endings: refund"),
    ],
)
def test_what_makes_no_plan_is_named(wrong: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"count": 5, "buyers": 2, "products": [1], **wrong}
    with pytest.raises(ValueError, match=words):
        plan_attempts(arguments.pop("count"), **arguments)


def test_a_negative_number_of_choices_is_named() -> None:
    with pytest.raises(ValueError, match="-3 choices"):
        zipf_choices(-3, [1])


def test_results_stand_in_the_order_of_the_plans() -> None:
    plans = plan_attempts(500, buyers=20, products=range(5), largest=9)

    def act(buyer: int) -> nullcontext[Act[PurchaseAttempt]]:
        def carry_out(attempt: PurchaseAttempt) -> PurchaseAttempt:
            assert attempt.buyer == buyer
            return attempt

        return nullcontext(carry_out)

    assert run_buyers(plans, act) == _flat(plans)
    outcomes = Counter(attempt.ending for attempt in run_buyers(plans, act))
    assert outcomes.total() == 500


def test_nobody_begins_before_all_are_connected() -> None:
    connected: list[int] = []

    def act(buyer: int) -> nullcontext[Act[int]]:
        time.sleep(0.02 * buyer)  # the last is ready long after the first
        connected.append(buyer)
        return nullcontext(lambda _: len(connected))

    assert run_buyers(plan_attempts(30, buyers=6, products=[1]), act) == [6] * 30


def test_every_buyer_has_a_thread_and_closes_its_own_connections() -> None:
    opened: dict[int, int] = {}
    closed: dict[int, int] = {}

    @contextmanager
    def act(buyer: int) -> Iterator[Act[int]]:
        opened[buyer] = threading.get_ident()
        yield lambda _: threading.get_ident()
        closed[buyer] = threading.get_ident()

    found = run_buyers(plan_attempts(16, buyers=8, products=[1]), act)
    assert opened == closed
    assert found == [opened[buyer] for buyer in range(8) for _ in range(2)]
    assert len(set(found)) == 8


def test_pauses_are_kept() -> None:
    plans = plan_attempts(12, buyers=3, products=[1], bursts=2, pause=0.2)
    start = time.monotonic()
    at = run_buyers(plans, lambda _: nullcontext(lambda _: time.monotonic() - start))
    assert all(moment >= 0.2 for i, moment in enumerate(at) if i % 4 >= 2)
    assert all(moment < 0.2 for i, moment in enumerate(at) if i % 4 < 2)


def test_the_first_failure_is_raised_when_all_have_ended() -> None:
    running = set[int]()
    closed = list[int]()

    @contextmanager
    def act(buyer: int) -> Iterator[Act[None]]:
        def carry_out(attempt: PurchaseAttempt) -> None:
            if buyer == 2:
                raise KeyError("the first")
            time.sleep(0.05)
            if buyer == 3:
                raise ValueError("a later one")

        running.add(buyer)
        try:
            yield carry_out
        finally:
            running.remove(buyer)
            closed.append(buyer)

    plans = plan_attempts(40, buyers=4, products=[1], bursts=10, pause=60.0)
    start = time.monotonic()
    with pytest.raises(KeyError, match="the first"):
        run_buyers(plans, act)
    assert running == set()
    assert sorted(closed) == [0, 1, 2, 3]
    assert time.monotonic() - start < 30, "others rest no longer"


def test_who_cannot_connect_does_not_keep_the_others_waiting() -> None:
    def act(buyer: int) -> nullcontext[Act[None]]:
        if buyer == 1:
            raise ConnectionError("nobody listens there")
        return nullcontext(lambda _: pytest.fail("it began without buyer 1"))

    with pytest.raises(ConnectionError, match="nobody listens there"):
        run_buyers(plan_attempts(6, buyers=3, products=[1]), act)


def test_a_failure_to_close_is_raised() -> None:
    @contextmanager
    def act(_: int) -> Iterator[Act[int]]:
        yield lambda attempt: attempt.quantity
        raise OSError("cannot be closed")

    with pytest.raises(OSError, match="cannot be closed"):
        run_buyers(plan_attempts(2, buyers=2, products=[1]), act)


def test_no_buyers_buy_nothing() -> None:
    results: list[int] = run_buyers([], lambda _: nullcontext(lambda attempt: attempt.quantity))
    assert results == []
