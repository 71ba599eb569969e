"""Concurrent buyers: reproducible plans, a common start, and a common end after a failure."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from helpers.catalog.random_draws import zipf_choices
from helpers.lab.buyers import Act, PurchaseAttempt, plan_attempts, run_buyers

# Recorded once; they must be the same on every machine, Python and order of calls.
CHOICES = [2, 2, 4, 28, 7, 5, 10, 4, 12, 2, 4, 74]
RANKS_1_2_10 = (19454, 9495, 1845)
PLANS = [
    [
        PurchaseAttempt(0, 10, 1, "release"),
        PurchaseAttempt(0, 10, 2, "confirm"),
        PurchaseAttempt(0, 10, 3, "release"),
    ],
    [PurchaseAttempt(1, 10, 2, "confirm"), PurchaseAttempt(1, 10, 2, "confirm")],
    [PurchaseAttempt(2, 30, 3, "confirm"), PurchaseAttempt(2, 10, 2, "confirm")],
]


def _flat(plans: list[list[PurchaseAttempt]]) -> list[PurchaseAttempt]:
    return [attempt for plan in plans for attempt in plan]


def test_choices_are_the_same_on_every_machine() -> None:
    assert zipf_choices(12, range(1, 101)) == CHOICES
    assert zipf_choices(12, range(1, 101)) == zipf_choices(5000, range(1, 101))[:12]
    assert zipf_choices(12, range(1, 101), seed=2) != CHOICES


def test_choices_follow_zipfs_law() -> None:
    products = list(range(500, 600))
    counts = Counter(zipf_choices(100_000, products))
    assert set(counts) == set(products)
    assert (counts[500], counts[501], counts[509]) == RANKS_1_2_10
    assert counts[500] / counts[501] == pytest.approx(2, rel=0.06)
    assert counts[500] / counts[509] == pytest.approx(10, rel=0.06)


@pytest.mark.parametrize(("exponent", "ratio"), [(0.0, 1.0), (0.5, 10**0.5), (2.0, 100.0)])
def test_the_exponent_sets_the_ratio_of_popularity(exponent: float, ratio: float) -> None:
    counts = Counter(zipf_choices(100_000, range(1, 21), exponent=exponent))
    assert counts[1] / counts[10] == pytest.approx(ratio, rel=0.1)


def test_plans_are_the_same_on_every_machine() -> None:
    assert plan_attempts(7, buyers=3, products=[10, 20, 30, 40], largest=3, seed=4) == PLANS


def test_plans_have_the_requested_distributions() -> None:
    attempts = _flat(plan_attempts(10_000, buyers=7, products=range(1, 21), largest=4))
    assert len(attempts) == 10_000
    assert {attempt.quantity for attempt in attempts} == {1, 2, 3, 4}
    products = Counter(attempt.product_id for attempt in attempts)
    assert products[1] / products[10] == pytest.approx(10, rel=0.15)
    endings = Counter(attempt.ending for attempt in attempts)
    assert endings["confirm"] / 10_000 == pytest.approx(0.7, abs=0.02)
    assert endings["release"] / 10_000 == pytest.approx(0.2, abs=0.02)
    assert endings["abandon"] / 10_000 == pytest.approx(0.1, abs=0.02)


def test_attempts_are_distributed_evenly() -> None:
    plans = plan_attempts(10, buyers=4, products=[1])
    assert [len(plan) for plan in plans] == [3, 3, 2, 2]
    assert all(a.buyer == number for number, plan in enumerate(plans) for a in plan)
    assert plan_attempts(0, buyers=2, products=[1]) == [[], []]
    assert [len(plan) for plan in plan_attempts(1, buyers=3, products=[1])] == [1, 0, 0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"count": -1}, "count is -1"),
        ({"buyers": 0}, "buyers is 0"),
        ({"products": []}, "at least one product"),
        ({"exponent": -1.0}, "no exponent for Zipf"),
        ({"exponent": float("nan")}, "no exponent for Zipf"),
        ({"largest": 0}, "largest is 0"),
    ],
)
def test_invalid_arguments_are_refused(wrong: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"count": 5, "buyers": 2, "products": [1], **wrong}
    with pytest.raises(ValueError, match=words):
        plan_attempts(arguments.pop("count"), **arguments)


def test_a_negative_number_of_choices_is_refused() -> None:
    with pytest.raises(ValueError, match="-3 choices"):
        zipf_choices(-3, [1])


def test_results_are_in_the_order_of_the_plans() -> None:
    plans = plan_attempts(500, buyers=20, products=range(5), largest=9)

    def act(buyer: int) -> nullcontext[Act[PurchaseAttempt]]:
        def carry_out(attempt: PurchaseAttempt) -> PurchaseAttempt:
            assert attempt.buyer == buyer
            return attempt

        return nullcontext(carry_out)

    assert run_buyers(plans, act) == _flat(plans)
    outcomes = Counter(attempt.ending for attempt in run_buyers(plans, act))
    assert outcomes.total() == 500


def test_all_buyers_start_after_all_are_connected() -> None:
    connected: list[int] = []

    def act(buyer: int) -> nullcontext[Act[int]]:
        time.sleep(0.02 * buyer)  # the last one connects long after the first
        connected.append(buyer)
        return nullcontext(lambda _: len(connected))

    assert run_buyers(plan_attempts(30, buyers=6, products=[1]), act) == [6] * 30


def test_each_buyer_opens_and_closes_its_connections_in_its_own_thread() -> None:
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


def test_the_first_failure_is_raised_after_all_have_stopped() -> None:
    running = set[int]()
    closed = list[int]()
    done = 0

    @contextmanager
    def act(buyer: int) -> Iterator[Act[None]]:
        def carry_out(attempt: PurchaseAttempt) -> None:
            nonlocal done
            done += 1
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

    plans = plan_attempts(40_000, buyers=4, products=[1])  # which would take minutes
    with pytest.raises(KeyError, match="the first"):
        run_buyers(plans, act)
    assert running == set()
    assert sorted(closed) == [0, 1, 2, 3]
    assert done < 10_000, "the others stop before their next attempt"


def test_a_buyer_that_cannot_connect_stops_the_others() -> None:
    def act(buyer: int) -> nullcontext[Act[None]]:
        if buyer == 1:
            raise ConnectionError("connection refused")
        return nullcontext(lambda _: pytest.fail("the buyers started without buyer 1"))

    with pytest.raises(ConnectionError, match="connection refused"):
        run_buyers(plan_attempts(6, buyers=3, products=[1]), act)


def test_a_failure_to_close_is_raised() -> None:
    @contextmanager
    def act(_: int) -> Iterator[Act[int]]:
        yield lambda attempt: attempt.quantity
        raise OSError("cannot be closed")

    with pytest.raises(OSError, match="cannot be closed"):
        run_buyers(plan_attempts(2, buyers=2, products=[1]), act)


def test_no_buyers_return_no_results() -> None:
    results: list[int] = run_buyers([], lambda _: nullcontext(lambda attempt: attempt.quantity))
    assert results == []
