"""Trace Redis: through a connection class of our own, which redis-py's pools accept.

redis-py sends a command, a pipeline or a transaction in one call of ``send_packed_command``, which
is one round trip.
"""

from __future__ import annotations

import time
from typing import Any

import redis

from helpers.stores.trace import RoundTrip, Trace


class _Traced:
    """A mix-in for redis-py's connection class. ``trace`` is set in a subclass for each trace."""

    trace: Trace
    _connecting = False
    _request = ("command", 1)
    _replies = 0
    _current: RoundTrip | None = None

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect, without recording the commands that this takes."""
        self._connecting = True
        try:
            super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._connecting = False

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
        """Send packed commands; if that succeeds, a round trip starts."""
        (name, replies), started = self._request, time.perf_counter()
        super().send_packed_command(command, check_health=check_health)  # type: ignore[misc]
        if not self._connecting:
            self._current = self.trace.begin("Redis", name, started)
            self._replies = replies

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read one reply; the round trip lasts until the last one."""
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        finally:
            # Further replies have no request: they are messages of a subscription.
            if self._current is not None and self._replies > 0 and not self._connecting:
                self._replies -= 1
                self._current.extend()


def trace_redis(client: redis.Redis, trace: Trace) -> None:
    """Record the round trips of ``client``, and of no other, in ``trace``. It reconnects."""
    pool = client.connection_pool
    pool.disconnect()
    pool.connection_class = type(
        "TracedConnection", (_Traced, pool.connection_class), {"trace": trace}
    )
    pool.reset()
