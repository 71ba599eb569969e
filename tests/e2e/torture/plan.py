"""Plans of what to kill and when, drawn from a seed so that a run can be repeated."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from helpers.orders.saga import STEPS

SERVERS = ("coordinator", "worker1", "worker2", "mongo", "redis")
TARGETS = (*SERVERS, "api", "relay")
MOMENTS = ("before", "after")

#: The steps of the relay; ``Orders.place`` runs the others.
RELAY_STEPS = ("relay", "acknowledge")


@dataclass(frozen=True)
class AtStep:
    """Kill ``target`` before or after a step of the saga."""

    moment: str
    step: str
    target: str

    def __str__(self) -> str:
        return f"{self.target} {self.moment} {self.step}"


@dataclass(frozen=True)
class UnderLoad:
    """Kill ``targets`` after ``wait`` seconds, and restart them after ``down_seconds``."""

    wait: float
    targets: tuple[str, ...]
    down_seconds: float

    def __str__(self) -> str:
        return f"{' and '.join(self.targets)} under load, down for {self.down_seconds:.2f} s"


@dataclass(frozen=True)
class Plan:
    """The kills of one run."""

    seed: int
    at_steps: tuple[AtStep, ...]
    under_load: tuple[UnderLoad, ...]


def is_possible(at: AtStep) -> bool:
    """Return whether the target can be killed there: each program runs only its own steps."""
    return at.target != ("api" if at.step in RELAY_STEPS else "relay")


def every_point() -> list[AtStep]:
    """Return every target before and after every step."""
    points = itertools.product(MOMENTS, (step.name for step in STEPS), TARGETS)
    return [at for at in (AtStep(*point) for point in points) if is_possible(at)]


def short_plan(seed: int) -> Plan:
    """Return a plan for one minute: each step once, each with another target, then five kills."""
    draw = random.Random(f"torture:{seed}")
    steps = [step.name for step in STEPS]
    while True:
        targets = draw.sample(TARGETS, len(steps))
        points = [
            AtStep(draw.choice(MOMENTS), step, target)
            for step, target in zip(steps, targets, strict=True)
        ]
        if all(map(is_possible, points)):
            return Plan(seed, tuple(points), _random_kills(draw, 5))


def long_plan(seed: int) -> Plan:
    """Return a plan with every target at every step, in random order, then sixty kills."""
    draw = random.Random(f"torture:{seed}:long")
    points = every_point()
    draw.shuffle(points)
    return Plan(seed, tuple(points), _random_kills(draw, 60))


def _random_kills(draw: random.Random, count: int) -> tuple[UnderLoad, ...]:
    """Return random kills, sometimes of two targets; every seven targets include each one once."""
    bag: list[str] = []
    kills = []
    for _ in range(count):
        targets: list[str] = []
        for _ in range(draw.choice((1, 1, 2))):
            if not bag:
                bag = draw.sample(TARGETS, len(TARGETS))
            if bag[-1] not in targets:
                targets.append(bag.pop())
        kills.append(UnderLoad(draw.uniform(0.3, 1.5), tuple(targets), draw.uniform(0.0, 1.0)))
    return tuple(kills)
