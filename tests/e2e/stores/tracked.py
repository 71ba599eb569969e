"""A connection that receives key changes, for the tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from redis import asyncio as aioredis

from helpers.stores.key_changes import KeyChanges

PREFIXES = ("tracked:", "also:")
A, B = "tracked:a", "tracked:b"


@contextlib.asynccontextmanager
async def opened(url: str, number: int = 0, seconds: float = 60) -> AsyncIterator[KeyChanges]:
    """Yield a connection to ``url`` that receives changes of keys with ``PREFIXES``."""
    async with aioredis.Redis.from_url(url) as awaited:
        awaited.connection_pool.connection_kwargs["db"] = number
        keys = KeyChanges(awaited, PREFIXES, answer_seconds=seconds)
        await keys.open()
        try:
            yield keys
        finally:
            await keys.aclose()
