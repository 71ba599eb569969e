"""Hooks on the steps of an order: called before a step begins and after it has succeeded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

Moment = Literal["before", "after"]

#: Called with the moment and the step's name. An exception that it raises propagates as if the step
#: had failed, so a hook can fail a step, count it, delay it, or end the process there.
StepHook = Callable[[Moment, str], None]


@contextlib.contextmanager
def run_hook(hook: StepHook | None, step: str) -> Iterator[None]:
    """Call ``hook`` before the body, and again after it unless the body raised."""
    if hook is not None:
        hook("before", step)
    yield
    if hook is not None:
        hook("after", step)
