"""One more client of the same database."""

from __future__ import annotations

from typing import Any

import redis

_WHERE = ("host", "port", "username", "password", "db", "path")


def another(client: redis.Redis, **options: Any) -> redis.Redis:
    """Return a client of the same database, texts decoded unless ``options`` say otherwise."""
    known = client.connection_pool.connection_kwargs
    where = {name: known[name] for name in _WHERE if name in known}
    return redis.Redis(**{**where, "decode_responses": True, **options})
