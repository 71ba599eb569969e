"""Keys and choices for experiments: drawn from a seed, the same on every machine."""

from __future__ import annotations

import random


def spread_keys(count: int, *, seed: int = 1) -> list[int]:
    """Return ``count`` keys from the whole width of a bigint, negative ones among them."""
    draw = random.Random(f"{seed}:keys").random
    keys = [int((draw() - 0.5) * 2**64) for _ in range(count)]
    return [max(-(2**63), min(2**63 - 1, key)) for key in keys]
