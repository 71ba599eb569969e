"""Measure times and print figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that one call of ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def print_figure(what: str, values: Sequence[float], unit: str) -> None:
    """Print the median of ``values``, and their range if there are several."""
    spread = f"   ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    print(f"{what:<58}{statistics.median(values):8.2f} {unit}{spread}", flush=True)
