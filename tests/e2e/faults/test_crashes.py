"""Processes that really die while they place an order, at each moment of each step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from helpers.embedded.server import is_alive
from helpers.errors import FaultError, SettingsError
from helpers.faults import anomalies, dual_write
from helpers.faults.anomalies import Anomalies, Crashed, count_anomalies
from helpers.faults.crashes import Crashes, crashing, kill_at
from helpers.faults.order_attempts import Way, steps_of
from helpers.orders.orders import Orders
from helpers.settings import PROJECT
from helpers.stores import Stores
from tests.orders.agreement import assert_consistent, assert_relayed
from tests.orders.test_saga_crashes import recover
from tests.stock.test_counts import Untouchable
from tests.waiting import wait_until

MOMENTS = ("before", "after")
POINTS = [(moment, step) for step in steps_of("saga") for moment in MOMENTS]
PLAIN: list[tuple[Way, str, str]] = [
    (way, moment, step)
    for way in ("postgres first", "mongo first")
    for step in steps_of(way)
    for moment in MOMENTS
]
ONE: dict[str, Any] = {"product": 1, "quantity": 1, "customer": 7, "key": "k"}


@pytest.fixture(scope="module")
def crashing_process(shared: Stores) -> Iterator[Crashes]:
    """One process for the module: it takes more than a second until it has imported everything."""
    with crashing(shared) as crashes:
        yield crashes


@pytest.fixture
def crashes(shop: Stores, crashing_process: Crashes) -> Crashes:
    return crashing_process


@pytest.fixture
def plain(shop: Stores) -> Iterator[Stores]:
    dual_write.make_plain(shop)
    yield shop
    dual_write.drop_plain(shop)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([("before", "record"), ("after", "record")], id="around the record"),
        pytest.param(POINTS, id="everywhere", marks=pytest.mark.verify),
    ],
)
def test_an_order_whose_process_dies_anywhere_is_one_order_when_it_is_tried_again(
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
def test_whoever_is_killed_again_and_again_is_made_whole_by_recovery(
    crashes: Crashes, orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = [one.killed for one in crashes.kill_at("after", "confirm", times=3, **ONE)]
    assert killed == [True] * 3
    killed = [one.killed for one in crashes.kill_at("after", "relay", times=2, **ONE)]
    assert killed == [True] * 2
    (first, second) = crashes.kill_at("after", "acknowledge", times=2, **ONE)
    assert first.killed
    assert not second.killed, "the row was deleted, and there is nothing to relay"
    assert _orders_of(shop, 7) == [second.order]
    recover(orders, shop, monkeypatch)
    assert_relayed(shop)
    assert_consistent(orders, shop)


def test_a_refusal_is_answered(crashes: Crashes) -> None:
    refused = crashes.place(**ONE | {"product": 99})
    assert not refused.killed
    assert refused.order is None
    assert "99" in (refused.error or "")
    sold_out = crashes.kill_at("after", "reserve", **ONE | {"quantity": 11})
    assert [one.killed for one in sold_out] == [False]
    assert "too few units" in (sold_out[0].error or "")
    assert crashes.place(**ONE).order is not None, "the surviving process goes on"


def test_the_surviving_process_connects_again_after_an_error(
    crashes: Crashes, shop: Stores
) -> None:
    assert crashes.place(**ONE).order is not None
    shop.postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert "PostgreSQL" in (crashes.place(**ONE | {"key": "l"}).error or "")
    assert crashes.place(**ONE | {"key": "l"}).order is not None


@pytest.mark.parametrize(
    ("moment", "step", "way"),
    [
        ("during", "record", "saga"),
        ("before", "order", "saga"),
        ("before", "record", "mongo first"),
    ],
)
def test_what_cannot_crash_is_named(moment: str, step: str, way: Way) -> None:
    untouchable: Any = Untouchable()
    with pytest.raises(SettingsError, match=f"Nothing can crash {moment} '{step}'"):
        kill_at(untouchable, moment, step, way=way, **ONE)


def test_a_way_that_is_none_is_named() -> None:
    untouchable: Any = Untouchable()
    way: Any = "two-phase commit"
    with pytest.raises(SettingsError, match="is no way to place an order: saga, postgres first"):
        kill_at(untouchable, "before", "order", way=way, **ONE)


@pytest.mark.verify
@pytest.mark.parametrize("again", [False, True])
def test_two_plain_writes_lose_or_double_what_crashes_between(
    crashes: Crashes, plain: Stores, again: bool
) -> None:
    for customer, (way, moment, step) in enumerate(PLAIN, start=1):
        one = ONE | {"customer": customer}
        assert [o.killed for o in crashes.kill_at(moment, step, way=way, **one)] == [True]
        steps = [point for point in PLAIN if point[0] == way]
        done = {
            name: int(steps.index((way, moment, step)) >= steps.index((way, "after", name)))
            for name in steps_of(way)
        }
        if again:
            assert crashes.place(way=way, **one).order is not None
        row = plain.postgres.execute(
            "SELECT count(*) FROM plain_orders WHERE customer_id = %s", [customer]
        ).fetchone()
        assert row == (done["order"] + again,)
        document = plain.mongo.plain_sales.find_one({"_id": 1}) or {"by": {}}
        assert document["by"].get(str(customer), 0) == done["count"] + again


@pytest.mark.verify
def test_a_crasher_that_was_ended_is_named(shop: Stores) -> None:
    with crashing(shop) as crashes:
        crashes._process.kill()
        with pytest.raises(FaultError, match="has ended"):
            crashes.place(**ONE)


MAKER = """
import time
from helpers.faults.crashes import crashing
from helpers.shop import open_shop
with open_shop() as stores, crashing(stores) as crashes:
    crashes.place(product=1, customer=7, key="k")
    print(crashes._process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.verify
def test_its_processes_do_not_outlive_it(shop: Stores, shop_of_ours: dict[str, str]) -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER],
        cwd=PROJECT,
        env=shop_of_ours,
        stdout=subprocess.PIPE,
        text=True,
    )
    with maker:
        assert maker.stdout is not None
        forker = psutil.Process(int(maker.stdout.readline()))
        all_ = [forker, *forker.children()]
        assert len(all_) == 2, "itself, and the one that survives"
        os.kill(maker.pid, signal.SIGKILL)
    wait_until(lambda: not any(is_alive(one) for one in all_))


@pytest.fixture
def shop_of_ours(shop: Stores) -> dict[str, str]:
    from helpers.stores.environment import environment_of

    return {**os.environ, **environment_of(shop)}


@pytest.mark.verify
@pytest.mark.parametrize("way", ["postgres first", "mongo first"])
def test_anomalies_of_two_plain_writes_are_those_of_their_moments(plain: Stores, way: Way) -> None:
    found = count_anomalies(plain, 24, way=way, retrying=0.5)
    first, second = steps_of(way)
    untouched = {("before", first)}
    between = {("after", first), ("before", second)}
    assert {(one.moment, one.step) for one in found.orders} >= between | untouched
    for one in found.orders:
        at = (one.moment, one.step)
        assert one.doubled == (one.acknowledged and at not in untouched)
        assert one.lost == (not one.acknowledged and at in between)
    assert sum(row["orders"] for row in found.rows()) == len(found.orders) == 24  # type: ignore[misc]
    assert found.lost > 0
    assert found.doubled > 0
    assert found.miscounted


@pytest.mark.verify
def test_by_the_saga_there_are_none(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []
    found = count_anomalies(shop, 24, way="saga", progress=lambda now, of: done.append((now, of)))
    assert sorted(done) == [(number, 24) for number in range(1, 25)]
    assert (found.lost, found.doubled, found.miscounted) == (0, 0, [])
    assert {one.postgres for one in found.orders if one.acknowledged} == {1}
    assert len({(one.moment, one.step) for one in found.orders}) > 6
    recover(orders, shop, monkeypatch)
    assert_relayed(shop)
    assert_consistent(orders, shop)


def test_the_same_seed_crashes_at_the_same_moments(shop: Stores) -> None:
    one, same, other = (anomalies._plan(shop, 6, "saga", 0.7, seed) for seed in (5, 5, 6))
    assert one == same != other
    for part, returns in ((1.0, True), (0.0, False)):
        plan = anomalies._plan(shop, 3, "saga", part, 5)
        assert [planned.returns for planned in plan] == [returns] * 3


@pytest.mark.parametrize(("orders", "part"), [(0, 0.5), (1, 1.5)])
def test_numbers_that_are_none_are_named(orders: int, part: float) -> None:
    untouchable: Any = Untouchable()
    with pytest.raises(SettingsError, match="cannot be placed"):
        count_anomalies(untouchable, orders, retrying=part)


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
def test_what_counts_as_lost_and_as_doubled(
    acknowledged: bool, postgres: int, mongo: int, lost: bool, doubled: bool
) -> None:
    one = Crashed("after", "order", acknowledged, postgres, mongo)
    assert (one.lost, one.doubled) == (lost, doubled)
    assert Anomalies("postgres first", [one], []).rows() == [
        {"crash": "after order", "orders": 1, "lost": lost, "doubled": doubled}
    ]


def _orders_of(stores: Stores, customer: int) -> list[int]:
    rows = stores.postgres.execute("SELECT id FROM orders WHERE customer_id = %s", [customer])
    return [number for (number,) in rows]
