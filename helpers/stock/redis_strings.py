"""Strings from redis-py, which returns ``bytes`` unless a client decodes responses."""

from __future__ import annotations

from typing import Any


def as_string(value: Any) -> str:
    """Return a value of Redis as a ``str``."""
    return value.decode() if isinstance(value, bytes) else str(value)
