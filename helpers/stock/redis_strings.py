"""Texts as they come from a client of redis-py, which decodes them or does not."""

from __future__ import annotations

from typing import Any


def as_string(value: Any) -> str:
    """Return a value of Redis as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
