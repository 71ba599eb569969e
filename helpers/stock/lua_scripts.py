"""Server-side functions: Lua scripts from ``helpers/stock/lua``, called by their hash.

A server forgets its scripts when it is restarted or told to (``SCRIPT FLUSH``). The caller notices
by the answer ``NOSCRIPT``, sends the text once, and goes on. Calls are never sent by hash inside of
a transaction, where that answer would come too late.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import NoScriptError

_FOLDER = Path(__file__).with_name("lua")
_PRELUDE = "common"

Argument = str | int


class Script:
    """One script by its name, such as ``reserve``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = "\n".join(
            (_FOLDER / f"{part}.lua").read_text("utf-8") for part in (_PRELUDE, name)
        )
        self.hash = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"

    def run(self, client: redis.Redis, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run the script on the server and return its answer, texts decoded.

        Raises ``redis.RedisError``.
        """
        try:
            answer = client.evalsha(self.hash, len(keys), *keys, *arguments)
        except NoScriptError:
            answer = client.eval(self.text, len(keys), *keys, *arguments)
        return _decoded(answer)

    def run_many(
        self, client: redis.Redis, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        """Run the script once for each pair of keys and arguments, in one round trip.

        Raises ``redis.RedisError``.
        """
        if not calls:
            return []
        with client.pipeline(transaction=False) as pipeline:
            # In a pipeline, what the server has forgotten is known too late: so it is told first.
            pipeline.script_load(self.text)
            for keys, arguments in calls:
                pipeline.evalsha(self.hash, len(keys), *keys, *arguments)
            return [_decoded(answer) for answer in pipeline.execute()[1:]]


def _decoded(answer: Any) -> Any:
    """Return an answer with texts decoded, whether the client decodes them or not."""
    if isinstance(answer, bytes):
        return answer.decode()
    if isinstance(answer, list):
        return [_decoded(part) for part in answer]
    return answer
