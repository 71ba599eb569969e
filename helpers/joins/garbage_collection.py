"""Relax Python's garbage collector while a large result is built."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

# Each document has about six containers: 80,000 documents stay below this.
_THRESHOLD = 500_000


class _Relaxed:
    """How many results are being built now, and the collector's usual thresholds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.usual = gc.get_threshold()


_relaxed = _Relaxed()


@contextlib.contextmanager
def gc_relaxed() -> Iterator[None]:
    """Collect garbage less often in the whole process, until the last caller leaves the context.

    The collector searches for cycles whenever 700 more containers were allocated than freed, and
    from time to time among all objects. A result has no cycles and is kept until it is complete, so
    the search finds nothing: it doubled the time to decode 20,000 documents (92 ms with, 40 ms
    without).
    """
    with _relaxed.lock:
        _relaxed.count += 1
        if _relaxed.count == 1:
            _relaxed.usual = gc.get_threshold()
            # A first threshold of 0 means that the collector is disabled: keep it so.
            first, *others = _relaxed.usual
            gc.set_threshold(first and max(first, _THRESHOLD), *others)
    try:
        yield
    finally:
        with _relaxed.lock:
            _relaxed.count -= 1
            if _relaxed.count == 0:
                gc.set_threshold(*_relaxed.usual)
