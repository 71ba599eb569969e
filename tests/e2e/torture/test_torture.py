"""A short run of the torture test, and the content of its plans."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from helpers.orders.saga import STEPS
from tests.e2e.torture.plan import TARGETS, every_point, is_possible, long_plan, short_plan
from tests.e2e.torture.run import torture


@pytest.mark.servers
@pytest.mark.verify
def test_no_order_is_lost_duplicated_or_incomplete(tmp_path: Path) -> None:
    """``python -m tests.e2e.torture --short --seed 1`` repeats this run with output."""
    outcome = torture(short_plan(1), tmp_path)
    assert outcome.acknowledged > 0
    assert outcome.failures, "no request failed"


def test_the_same_seed_gives_the_same_plan() -> None:
    assert short_plan(7) == short_plan(7) != short_plan(8)
    assert long_plan(7) == long_plan(7) != long_plan(8)


def test_short_plans_kill_at_every_step_and_kill_every_target() -> None:
    kills_of: Counter[str] = Counter()
    for seed in range(20):
        plan = short_plan(seed)
        assert [at.step for at in plan.at_steps] == [step.name for step in STEPS]
        assert all(map(is_possible, plan.at_steps))
        assert all(kill.targets for kill in plan.under_load)
        kills_of.update(at.target for at in plan.at_steps)
        kills_of.update(target for kill in plan.under_load for target in kill.targets)
    assert min(kills_of[target] for target in TARGETS) >= 20


def test_the_long_plan_kills_every_target_at_every_step() -> None:
    assert set(long_plan(3).at_steps) == set(every_point())
    assert {at.target for at in every_point()} == set(TARGETS)
