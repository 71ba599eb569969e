"""Measure times and print figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Work = Callable[[], object]


def seconds(work: Work) -> float:
    """Return the seconds that one call of ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(works: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each of ``works`` in each round, after one call to warm up.

    In a round each is called once, so that other load on the machine affects all of them.
    """
    times: dict[str, list[float]] = {what: [] for what in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for what, work in works.items():
            times[what].append(seconds(work))
    return times


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratio of each value to that of the same round in ``base``."""
    return [value / other for value, other in zip(values, base, strict=True)]


def print_figure(what: str, values: Sequence[float], unit: str) -> None:
    """Print the median of ``values``, and their range if there are several."""
    spread = f"   ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    print(f"{what:<58}{statistics.median(values):8.2f} {unit}{spread}", flush=True)
