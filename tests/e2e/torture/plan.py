"""What is killed, and when: drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from helpers.orders.saga import STEPS

SERVERS = ("coordinator", "worker1", "worker2", "mongo", "redis")
VICTIMS = (*SERVERS, "api", "relay")
MOMENTS = ("before", "after")

#: Steps of the relay; the others are those of placing an order.
CARRYING = ("relay", "acknowledge")


@dataclass(frozen=True)
class AtStep:
    """``victim`` is killed before or after a step of the saga."""

    moment: str
    step: str
    victim: str

    def __str__(self) -> str:
        return f"{self.victim} {self.moment} {self.step}"


@dataclass(frozen=True)
class UnderLoad:
    """After ``wait`` seconds ``victims`` are killed, and started again ``away`` seconds later."""

    wait: float
    victims: tuple[str, ...]
    away: float

    def __str__(self) -> str:
        return f"{' and '.join(self.victims)} under load, away for {self.away:.2f} s"


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    at_steps: tuple[AtStep, ...]
    under_load: tuple[UnderLoad, ...]


def is_possible(at: AtStep) -> bool:
    """Tell whether the victim can be killed there: one process does not do the other's steps."""
    return at.victim != ("api" if at.step in CARRYING else "relay")


def every_point() -> list[AtStep]:
    """Return each victim at each moment of each step."""
    points = itertools.product(MOMENTS, (step.name for step in STEPS), VICTIMS)
    return [at for at in (AtStep(*one) for one in points) if is_possible(at)]


def short_plan(seed: int) -> Plan:
    """Return a plan for a minute: each step once, with another victim each, then five kills."""
    draw = random.Random(f"torture:{seed}")
    steps = [step.name for step in STEPS]
    while True:
        victims = draw.sample(VICTIMS, len(steps))
        points = [
            AtStep(draw.choice(MOMENTS), step, victim)
            for step, victim in zip(steps, victims, strict=True)
        ]
        if all(map(is_possible, points)):
            return Plan(seed, tuple(points), _random_kills(draw, 5))


def long_plan(seed: int) -> Plan:
    """Return a plan with every victim at every step in random order, then sixty kills."""
    draw = random.Random(f"torture:{seed}:long")
    points = every_point()
    draw.shuffle(points)
    return Plan(seed, tuple(points), _random_kills(draw, 60))


def _random_kills(draw: random.Random, count: int) -> tuple[UnderLoad, ...]:
    """Return kills among which, of seven, everybody is a victim; now and then two at once."""
    bag: list[str] = []
    kills = []
    for _ in range(count):
        victims: list[str] = []
        for _ in range(draw.choice((1, 1, 2))):
            if not bag:
                bag = draw.sample(VICTIMS, len(VICTIMS))
            if bag[-1] not in victims:
                victims.append(bag.pop())
        kills.append(UnderLoad(draw.uniform(0.3, 1.5), tuple(victims), draw.uniform(0.0, 1.0)))
    return tuple(kills)
