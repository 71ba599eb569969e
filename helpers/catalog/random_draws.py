"""Seeded random draws for generated data and experiments: the same on every machine.

Only ``random()`` of Python's generator is used: its sequence is guaranteed for a given seed
(https://docs.python.org/3/library/random.html#notes-on-reproducibility).
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """A seeded random generator; the parts of ``seed`` together are the seed."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(":".join(str(part) for part in seed)).random

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return self._random()

    def integer(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        return low + int(self._random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        """Return one of ``options``, each with the same probability."""
        return options[int(self._random() * len(options))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return ``items`` in random order."""
        return [item for _, _, item in sorted((self._random(), n, i) for n, i in enumerate(items))]


def spread_keys(count: int, *, seed: int = 1) -> list[int]:
    """Return ``count`` keys drawn from all values of a bigint, negative ones included."""
    draws = Draws(seed, "keys")
    keys = [int((draws.fraction() - 0.5) * 2**64) for _ in range(count)]
    return [max(-(2**63), min(2**63 - 1, key)) for key in keys]


def zipf_choices(
    count: int, products: Sequence[int], *, exponent: float = 1.0, seed: int = 1
) -> list[int]:
    """Return ``count`` ids of ``products``, chosen by Zipf's law; the first is the most popular.

    The larger ``exponent``, the more popular are the first ones; 0 makes all equally popular.
    Raises ``ValueError`` if there are no products, or if ``count`` or ``exponent`` is negative.
    """
    if count < 0:
        raise ValueError(f"{count} choices cannot be made: give 0 or more.")
    draws = Draws(seed, "choices")
    rank = zipf_ranks(len(products), exponent=exponent)
    return [products[rank(draws.fraction()) - 1] for _ in range(count)]


def zipf_ranks(count: int, *, exponent: float = 1.0) -> Callable[[float], int]:
    """Return a function from a fraction in [0, 1) to a rank from 1 to ``count``, by Zipf's law.

    The probability of rank ``r`` is proportional to ``1 / r**exponent``. Raises ``ValueError`` if
    ``count`` is below 1 or ``exponent`` is negative.
    """
    if count < 1:
        raise ValueError("There is nothing to choose from: give at least one product.")
    if not 0 <= exponent < float("inf"):
        raise ValueError(
            f"{exponent} is no exponent for Zipf's law: give 0 (all equally likely) or more."
        )
    weights = (1 / rank**exponent for rank in range(1, count + 1))
    cumulative = list(itertools.accumulate(weights))
    return lambda fraction: bisect.bisect_right(cumulative, fraction * cumulative[-1]) + 1
