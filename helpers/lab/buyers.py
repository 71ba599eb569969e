"""Buyers who want the same few products at once: what each will do, planned beforehand.

A plan is drawn from a seed and is the same on every machine, so that two ways of selling are tried
against the very same crowd.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from helpers.catalog.random_draws import zipf_ranks

#: How an attempt ends once the units are reserved; who abandons them lets the deadline pass.
Ending = Literal["confirm", "release", "abandon"]

#: How often each ending comes, unless told otherwise.
ENDINGS: Mapping[Ending, float] = {"confirm": 0.7, "release": 0.2, "abandon": 0.1}


@dataclass(frozen=True)
class PurchaseAttempt:
    """One attempt of ``buyer`` (from 0) to get ``quantity`` units of a product.

    ``pause`` is how many seconds the buyer waits before it.
    """

    buyer: int
    product_id: int
    quantity: int
    ending: Ending
    pause: float = 0.0


def plan_attempts(
    count: int,
    *,
    buyers: int,
    products: Sequence[int],
    exponent: float = 1.0,
    largest: int = 1,
    endings: Mapping[Ending, float] = ENDINGS,
    bursts: int = 1,
    pause: float = 0.0,
    seed: int = 1,
) -> list[list[PurchaseAttempt]]:
    """Return what each buyer will do: a list for each, ``count`` attempts in all.

    Products are chosen by Zipf's law with ``exponent``, the first of ``products`` being the most
    popular; 1 to ``largest`` units are wanted, all numbers alike; ``endings`` weighs the endings.
    Everybody's attempts fall into ``bursts``, with ``pause`` seconds of rest before each but the
    first, and none within.

    Raises ``ValueError`` where an argument makes no plan.
    """
    _check(count, buyers, largest, bursts, pause)
    rank = zipf_ranks(len(products), exponent=exponent)
    end = _chooser(endings)
    plans = []
    for buyer in range(buyers):
        draw = random.Random(f"{seed}:buyer:{buyer}").random
        share = count // buyers + (buyer < count % buyers)
        numbers = [number * bursts // share for number in range(share)]
        plans.append(
            [
                PurchaseAttempt(
                    buyer,
                    products[rank(draw()) - 1],
                    1 + int(draw() * largest),
                    end(draw()),
                    (burst - before) * pause,
                )
                for before, burst in itertools.pairwise([0, *numbers])
            ]
        )
    return plans


def _check(count: int, buyers: int, largest: int, bursts: int, pause: float) -> None:
    if count < 0:
        raise ValueError(f"{count} attempts cannot be made: give 0 or more.")
    for number, what in ((buyers, "buyers"), (largest, "units at most"), (bursts, "bursts")):
        if number < 1:
            raise ValueError(f"{number} {what} make no plan: give 1 or more.")
    if not 0 <= pause < math.inf:
        raise ValueError(f"Nobody can pause for {pause} s: give 0 or more.")


def _chooser(weights: Mapping[Ending, float]) -> Callable[[float], Ending]:
    """Return a function from a fraction in [0, 1) to an ending, each as often as it weighs."""
    unknown = set(weights) - set(get_args(Ending))
    if unknown:
        raise ValueError(
            f"{', '.join(sorted(unknown))}: there are no such endings. There are "
            f"{', '.join(get_args(Ending))}."
        )
    # In the order of the type, so that the order in which weights were written does not matter.
    chosen = [ending for ending in get_args(Ending) if weights.get(ending, 0) != 0]
    if not chosen or not all(0 < weights[ending] < math.inf for ending in chosen):
        raise ValueError("The endings weigh nothing, or less: give at least one a positive weight.")
    cumulative = list(itertools.accumulate(weights[ending] for ending in chosen))
    last = len(chosen) - 1
    return lambda part: chosen[min(bisect.bisect_right(cumulative, part * cumulative[-1]), last)]
