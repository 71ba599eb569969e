"""``Server-Timing``: where the time of a request went, for whoever reads the response's headers.

For each store how long it was waited for and how often, then each question with its beginning, in
milliseconds. ``start`` is a parameter of ours; who does not know it passes over it.
https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

from collections import Counter

from helpers.stores.trace import STORES, Trace

_MOST = 24


def server_timing(trace: Trace, began: float, *, shared: bool = False) -> str:
    """Return the header's value for a request that ``began`` at that time on ``perf_counter()``.

    ``shared`` says that the stores were asked for several requests together.
    """
    spans = trace.spans
    offset = trace.beginning - began
    entries = []
    for store in STORES:
        seconds = [span.end_seconds - span.start_seconds for span in spans if span.store == store]
        if seconds:
            trips = f"{len(seconds)} round trip" + ("s" if len(seconds) > 1 else "")
            entries.append(f'{store.lower()};dur={1000 * sum(seconds):.2f};desc="{trips}"')
    if shared:
        entries.append('shared;desc="with another request"')
    numbers: Counter[str] = Counter()
    for span in spans[:_MOST]:
        numbers[span.store] += 1
        start = 1000 * (span.start_seconds + offset)
        duration = 1000 * (span.end_seconds - span.start_seconds)
        name = f"{span.store.lower()}-{numbers[span.store]}"
        entries.append(f'{name};dur={duration:.2f};start={start:.2f};desc="{span.name}"')
    return ", ".join(entries)
