"""Keys and choices for experiments: drawn from a seed, the same on every machine."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Sequence


def spread_keys(count: int, *, seed: int = 1) -> list[int]:
    """Return ``count`` keys from the whole width of a bigint, negative ones among them."""
    draw = random.Random(f"{seed}:keys").random
    keys = [int((draw() - 0.5) * 2**64) for _ in range(count)]
    return [max(-(2**63), min(2**63 - 1, key)) for key in keys]


def zipf_choices(
    count: int, products: Sequence[int], *, exponent: float = 1.0, seed: int = 1
) -> list[int]:
    """Return the ids of ``products`` that are asked for, one after another, ``count`` in all.

    They follow Zipf's law, the first of ``products`` being the most popular; the larger
    ``exponent``, the more so, and 0 makes all alike. Raises ``ValueError`` where there are no
    products, or where ``count`` or ``exponent`` is negative.
    """
    if count < 0:
        raise ValueError(f"{count} choices cannot be made: give 0 or more.")
    draw = random.Random(f"{seed}:choices").random
    rank = zipf_ranks(len(products), exponent=exponent)
    return [products[rank(draw()) - 1] for _ in range(count)]


def zipf_ranks(count: int, *, exponent: float = 1.0) -> Callable[[float], int]:
    """Return a function from a fraction in [0, 1) to a rank from 1 to ``count``, by Zipf's law.

    Rank ``r`` is as likely as ``1 / r**exponent``. Raises ``ValueError`` where ``count`` is below 1
    or ``exponent`` negative.
    """
    if count < 1:
        raise ValueError("There is nothing to choose from: give at least one product.")
    if not 0 <= exponent < float("inf"):
        raise ValueError(
            f"{exponent} is no exponent for Zipf's law: give 0 (all alike) or more, such as 1."
        )
    weights = (1 / rank**exponent for rank in range(1, count + 1))
    cumulative = list(itertools.accumulate(weights))
    return lambda fraction: bisect.bisect_right(cumulative, fraction * cumulative[-1]) + 1
