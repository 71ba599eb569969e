"""Watching Redis's round trips: by a connection class of our own, which redis-py lets us give.

All that redis-py sends at once leaves in one call of ``send_packed_command``, be it a command, a
pipeline or a transaction: that is one round trip.
"""

from __future__ import annotations

import time
from typing import Any

import redis

from helpers.stores.trace import Exchange, Trace


class _Watched:
    """What is added to redis-py's connection class. ``trace`` is set in a class made for each."""

    trace: Trace
    _setting_up = False
    _request = ("command", 1)
    _replies = 0
    _current: Exchange | None = None

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Make the connection; what is said for that is no round trip of ours."""
        self._setting_up = True
        try:
            super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._setting_up = False

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        """Send one command."""
        self._request = (str(args[0]).split(" ")[0].upper(), 1)
        super().send_command(*args, **kwargs)  # type: ignore[misc]

    def pack_commands(self, commands: Any) -> Any:
        """Pack several commands, which are sent together next."""
        commands = list(commands)
        kind = "transaction" if commands and commands[0][0] == "MULTI" else "pipeline"
        self._request = (kind, len(commands))
        return super().pack_commands(commands)  # type: ignore[misc]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send what is packed; a round trip begins where that succeeds."""
        (name, replies), began = self._request, time.perf_counter()
        super().send_packed_command(command, check_health=check_health)  # type: ignore[misc]
        if not self._setting_up:
            self._current = self.trace.begin("Redis", name, began)
            self._replies = replies

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read one answer; the round trip lasts until the last one."""
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        finally:
            # Further on, what comes was not asked for: messages of a subscription.
            if self._current is not None and self._replies > 0 and not self._setting_up:
                self._replies -= 1
                self._current.extend()


def trace_redis(client: redis.Redis, trace: Trace) -> None:
    """Write the round trips of ``client`` to ``trace``: of it alone, with connections made anew."""
    pool = client.connection_pool
    pool.disconnect()
    pool.connection_class = type(
        "TracedConnection", (_Watched, pool.connection_class), {"trace": trace}
    )
    pool.reset()
