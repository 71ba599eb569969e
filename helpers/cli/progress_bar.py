"""The progress bars of ``python -m helpers seed``."""

from __future__ import annotations

import sys
from typing import Any, Self

from tqdm import tqdm


class ProgressBar:
    """Show one bar per store on standard error, in the order in which the stores are filled."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def advance(self, store: str, done: int, total: int) -> None:
        """Add ``done`` of ``total`` items to the bar of ``store``."""
        bar = self._bar
        if bar is None or bar.desc != store:
            self._close()
            bar = self._bar = tqdm(desc=store, total=total, unit_scale=True, file=sys.stderr)
        bar.update(done)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
