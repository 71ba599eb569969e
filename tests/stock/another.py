"""Another client of the same Redis database."""

from __future__ import annotations

from typing import Any

import redis

_WHERE = ("host", "port", "username", "password", "db", "path")


def another(client: redis.Redis, **options: Any) -> redis.Redis:
    """Return a client of the same database; by default it decodes responses."""
    known = client.connection_pool.connection_kwargs
    where = {name: known[name] for name in _WHERE if name in known}
    return redis.Redis(**{**where, "decode_responses": True, **options})
