"""Run the Lua scripts in ``helpers/stock/lua``: each is one atomic step on the Redis server.

redis-py sends a script's hash (``EVALSHA``). Only if the server does not know the hash, because it
was restarted or told ``SCRIPT FLUSH``, is the source sent as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis

_FOLDER = Path(__file__).with_name("lua")

Argument = str | int


@cache
def script_source(name: str) -> str:
    """Return the source of a script, such as ``reserve``, after the functions that all share."""
    return "\n".join((_FOLDER / f"{part}.lua").read_text("utf-8") for part in ("common", name))


def run_script(
    client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument]
) -> Any:
    """Run a script and return its result, with strings decoded.

    Raises ``redis.RedisError``.
    """
    script = client.register_script(script_source(name))
    return _decoded(script(keys, arguments))


def run_script_many(
    client: redis.Redis, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
) -> list[Any]:
    """Run a script once for each pair of keys and arguments, and return the results.

    Several calls are sent in one pipeline. Raises ``redis.RedisError``.
    """
    if len(calls) <= 1:
        return [run_script(client, name, *call) for call in calls]
    script = client.register_script(script_source(name))
    with client.pipeline(transaction=False) as pipeline:
        for keys, arguments in calls:
            script(keys, arguments, client=pipeline)
        return [_decoded(result) for result in pipeline.execute()]


def _decoded(result: Any) -> Any:
    """Return a result with its strings decoded, whether the client decodes them or not."""
    if isinstance(result, bytes):
        return result.decode()
    if isinstance(result, list):
        return [_decoded(part) for part in result]
    return result
