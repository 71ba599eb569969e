"""Crashes: processes that are killed while they place an order, before or after each step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from helpers.embedded.server_processes import is_alive
from helpers.errors import FaultError, SettingsError
from helpers.faults import dual_write, inconsistencies
from helpers.faults.crashes import Crashes, crashing
from helpers.faults.inconsistencies import CrashedOrder, Inconsistencies, count_inconsistencies
from helpers.faults.order_attempts import Strategy, steps_of
from helpers.orders.orders import Orders
from helpers.settings import PROJECT
from helpers.stores import Stores
from tests.orders.agreement import assert_consistent, assert_relayed
from tests.orders.test_saga_crashes import recover
from tests.stock.test_counts import Untouchable
from tests.waiting import wait_until

MOMENTS = ("before", "after")
POINTS = [(moment, step) for step in steps_of("saga") for moment in MOMENTS]
PLAIN: list[tuple[Strategy, str, str]] = [
    (strategy, moment, step)
    for strategy in ("postgres first", "mongo first")
    for step in steps_of(strategy)
    for moment in MOMENTS
]
ONE: dict[str, Any] = {"product": 1, "quantity": 1, "customer": 7, "key": "k"}


@pytest.fixture(scope="module")
def crashing_process(shared: Stores) -> Iterator[Crashes]:
    """One crash worker for the module: starting it takes more than a second."""
    with crashing(shared) as crashes:
        yield crashes


@pytest.fixture
def crashes(shop: Stores, crashing_process: Crashes) -> Crashes:
    return crashing_process


@pytest.fixture
def plain(shop: Stores) -> Iterator[Stores]:
    dual_write.create_dual_write_tables(shop)
    yield shop
    dual_write.drop_dual_write_tables(shop)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([("before", "record"), ("after", "record")], id="around the record"),
        pytest.param(POINTS, id="everywhere", marks=pytest.mark.verify),
    ],
)
def test_a_retry_after_a_crash_at_any_step_creates_no_second_order(
    points: list[tuple[str, str]],
    crashes: Crashes,
    orders: Orders,
    shop: Stores,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acknowledged = []
    for customer, (moment, step) in enumerate(points, start=1):
        one = ONE | {"product": 1 + customer % 5, "customer": customer, "key": f"k{customer}"}
        (outcome,) = crashes.kill_at(moment, step, **one)
        assert outcome.killed, (moment, step, outcome)
        assert (outcome.order, outcome.error) == (None, None)
        rows = _orders_of(shop, customer)
        reached = POINTS.index((moment, step)) >= POINTS.index(("after", "record"))
        assert len(rows) == reached, (moment, step)
        again = crashes.place(**one)
        assert again.order is not None, again.error
        assert _orders_of(shop, customer) == [again.order]
        found = orders.find(again.order)
        assert found is not None
        acknowledged.append(found)
    recover(orders, shop, monkeypatch)
    assert_relayed(shop)
    assert_consistent(orders, shop, acknowledged)
    assert len(acknowledged) == len(points)


@pytest.mark.verify
def test_recovery_completes_an_order_whose_attempts_all_crashed(
    crashes: Crashes, orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = [one.killed for one in crashes.kill_at("after", "confirm", times=3, **ONE)]
    assert killed == [True] * 3
    killed = [one.killed for one in crashes.kill_at("after", "relay", times=2, **ONE)]
    assert killed == [True] * 2
    (first, second) = crashes.kill_at("after", "acknowledge", times=2, **ONE)
    assert first.killed
    assert not second.killed, "the row was deleted, so there is nothing to relay"
    assert _orders_of(shop, 7) == [second.order]
    recover(orders, shop, monkeypatch)
    assert_relayed(shop)
    assert_consistent(orders, shop)


def test_a_refused_order_returns_an_error(crashes: Crashes) -> None:
    refused = crashes.place(**ONE | {"product": 99})
    assert not refused.killed
    assert refused.order is None
    assert "99" in (refused.error or "")
    sold_out = crashes.kill_at("after", "reserve", **ONE | {"quantity": 11})
    assert [one.killed for one in sold_out] == [False]
    assert "too few units" in (sold_out[0].error or "")
    assert crashes.place(**ONE).order is not None, "the surviving process continues"


def test_the_surviving_process_reconnects_after_an_error(crashes: Crashes, shop: Stores) -> None:
    assert crashes.place(**ONE).order is not None
    shop.postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert "PostgreSQL" in (crashes.place(**ONE | {"key": "l"}).error or "")
    assert crashes.place(**ONE | {"key": "l"}).order is not None


@pytest.mark.parametrize(
    ("moment", "step", "strategy"),
    [
        ("during", "record", "saga"),
        ("before", "order", "saga"),
        ("before", "record", "mongo first"),
    ],
)
def test_an_unknown_moment_or_step_is_refused(
    crashes: Crashes, moment: str, step: str, strategy: Strategy
) -> None:
    with pytest.raises(SettingsError, match=f"No process can crash {moment} '{step}'"):
        crashes.kill_at(moment, step, strategy=strategy, **ONE)


def test_an_unknown_strategy_is_refused(crashes: Crashes) -> None:
    strategy: Any = "two-phase commit"
    with pytest.raises(
        SettingsError, match="is not a strategy to place an order: give one of saga"
    ):
        crashes.kill_at("before", "order", strategy=strategy, **ONE)


@pytest.mark.verify
@pytest.mark.parametrize("again", [False, True])
def test_dual_writes_lose_or_duplicate_orders_that_crash_between_the_writes(
    crashes: Crashes, plain: Stores, again: bool
) -> None:
    for customer, (strategy, moment, step) in enumerate(PLAIN, start=1):
        one = ONE | {"customer": customer}
        assert [o.killed for o in crashes.kill_at(moment, step, strategy=strategy, **one)] == [True]
        steps = [point for point in PLAIN if point[0] == strategy]
        done = {
            name: int(
                steps.index((strategy, moment, step)) >= steps.index((strategy, "after", name))
            )
            for name in steps_of(strategy)
        }
        if again:
            assert crashes.place(strategy=strategy, **one).order is not None
        row = plain.postgres.execute(
            "SELECT count(*) FROM plain_orders WHERE customer_id = %s", [customer]
        ).fetchone()
        assert row == (done["order"] + again,)
        document = plain.mongo.plain_sales.find_one({"_id": 1}) or {"by": {}}
        assert document["by"].get(str(customer), 0) == done["count"] + again


@pytest.mark.verify
def test_a_killed_crash_worker_raises_a_fault_error(shop: Stores) -> None:
    with crashing(shop) as crashes:
        crashes._process.kill()
        with pytest.raises(FaultError, match="has ended"):
            crashes.place(**ONE)


PARENT = """
import time
from helpers.faults.crashes import crashing
from helpers.shop import open_shop
with open_shop() as stores, crashing(stores) as crashes:
    crashes.place(product=1, customer=7, key="k")
    print(crashes._process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.verify
def test_crash_workers_end_when_their_parent_is_killed(
    shop: Stores, shop_environ: dict[str, str]
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=PROJECT,
        env=shop_environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        processes = [worker, *worker.children()]
        assert len(processes) == 2, "the crash worker and the surviving process"
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not any(is_alive(one) for one in processes))


@pytest.fixture
def shop_environ(shop: Stores) -> dict[str, str]:
    from helpers.stores.environment import environment_of

    return {**os.environ, **environment_of(shop)}


@pytest.mark.verify
@pytest.mark.parametrize("strategy", ["postgres first", "mongo first"])
def test_inconsistencies_of_dual_writes_match_the_moments_of_the_crashes(
    plain: Stores, strategy: Strategy
) -> None:
    found = count_inconsistencies(plain, 24, strategy=strategy, retrying=0.5)
    first, second = steps_of(strategy)
    untouched = {("before", first)}
    between = {("after", first), ("before", second)}
    assert {(one.moment, one.step) for one in found.orders} >= between | untouched
    for one in found.orders:
        at = (one.moment, one.step)
        assert one.duplicated == (one.acknowledged and at not in untouched)
        assert one.lost == (not one.acknowledged and at in between)
    assert sum(row["orders"] for row in found.rows()) == len(found.orders) == 24  # type: ignore[misc]
    assert found.lost > 0
    assert found.duplicated > 0
    assert found.miscounted


@pytest.mark.verify
def test_the_saga_leaves_no_inconsistencies(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []
    found = count_inconsistencies(
        shop, 24, strategy="saga", progress=lambda now, of: done.append((now, of))
    )
    assert sorted(done) == [(number, 24) for number in range(1, 25)]
    assert (found.lost, found.duplicated, found.miscounted) == (0, 0, [])
    assert {one.postgres for one in found.orders if one.acknowledged} == {1}
    assert len({(one.moment, one.step) for one in found.orders}) > 6
    recover(orders, shop, monkeypatch)
    assert_relayed(shop)
    assert_consistent(orders, shop)


def test_the_same_seed_plans_the_same_crashes(shop: Stores) -> None:
    one, same, other = (inconsistencies._plan(shop, 6, "saga", 0.7, seed) for seed in (5, 5, 6))
    assert one == same != other
    for part, retried in ((1.0, True), (0.0, False)):
        plan = inconsistencies._plan(shop, 3, "saga", part, 5)
        assert [planned.retried for planned in plan] == [retried] * 3


@pytest.mark.parametrize(("orders", "part"), [(0, 0.5), (1, 1.5)])
def test_invalid_numbers_of_orders_and_retries_are_refused(orders: int, part: float) -> None:
    untouchable: Any = Untouchable()
    with pytest.raises(SettingsError, match="give 1 or more orders"):
        count_inconsistencies(untouchable, orders, retrying=part)


@pytest.mark.parametrize(
    ("acknowledged", "postgres", "mongo", "lost", "doubled"),
    [
        (True, 1, 1, False, False),
        (False, 1, 1, False, False),
        (False, 0, 0, False, False),
        (True, 0, 0, True, False),
        (True, 1, 0, True, False),
        (False, 0, 1, True, False),
        (True, 2, 1, False, True),
        (True, 1, 2, False, True),
        (True, 2, 0, True, True),
    ],
)
def test_lost_and_duplicated_are_derived_from_the_counts(
    acknowledged: bool, postgres: int, mongo: int, lost: bool, doubled: bool
) -> None:
    one = CrashedOrder("after", "order", acknowledged, postgres, mongo)
    assert (one.lost, one.duplicated) == (lost, doubled)
    assert Inconsistencies("postgres first", [one], []).rows() == [
        {"crash": "after order", "orders": 1, "lost": lost, "doubled": doubled}
    ]


def _orders_of(stores: Stores, customer: int) -> list[int]:
    rows = stores.postgres.execute("SELECT id FROM orders WHERE customer_id = %s", [customer])
    return [number for (number,) in rows]
