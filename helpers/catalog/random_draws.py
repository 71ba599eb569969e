"""Choices drawn from a seed: the same on every machine.

Only ``random()`` is drawn from Python's generator, whose sequence is guaranteed for a given seed
(https://docs.python.org/3/library/random.html#notes-on-reproducibility).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """Choices drawn from one seeded generator; the parts of ``seed`` together are the seed."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(":".join(str(part) for part in seed)).random

    def fraction(self) -> float:
        """Return a number from 0 to just below 1."""
        return self._random()

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``, both included."""
        return low + int(self._random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        """Return one of ``options``, all alike."""
        return options[int(self._random() * len(options))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return ``items`` in an order that chance has made."""
        return [item for _, _, item in sorted((self._random(), n, i) for n, i in enumerate(items))]
