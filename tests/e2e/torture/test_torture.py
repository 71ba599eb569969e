"""A short run of the torture, and what its plans are made of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from helpers.orders.saga import STEPS
from tests.e2e.torture.plan import VICTIMS, every_point, is_possible, long_plan, short_plan
from tests.e2e.torture.run import torture


@pytest.mark.servers
@pytest.mark.verify
def test_nothing_is_lost_doubled_or_left_open(tmp_path: Path) -> None:
    """``python -m tests.e2e.torture --short --seed 1`` repeats it and says what it kills."""
    outcome = torture(short_plan(1), tmp_path)
    assert outcome.acknowledged > 0
    assert outcome.failures, "nobody noticed that anything was killed"


def test_a_seed_is_always_the_same_plan() -> None:
    assert short_plan(7) == short_plan(7) != short_plan(8)
    assert long_plan(7) == long_plan(7) != long_plan(8)


def test_each_short_plan_strikes_at_every_step_and_spares_no_kind_of_victim_for_long() -> None:
    struck: Counter[str] = Counter()
    for seed in range(20):
        plan = short_plan(seed)
        assert [at.step for at in plan.at_steps] == [step.name for step in STEPS]
        assert all(map(is_possible, plan.at_steps))
        assert all(kill.victims for kill in plan.under_load)
        struck.update(at.victim for at in plan.at_steps)
        struck.update(victim for kill in plan.under_load for victim in kill.victims)
    assert min(struck[victim] for victim in VICTIMS) >= 20


def test_the_long_plan_strikes_everybody_at_every_step() -> None:
    assert set(long_plan(3).at_steps) == set(every_point())
    assert {at.victim for at in every_point()} == set(VICTIMS)
