"""Trace MongoDB: each command that PyMongo's own monitoring reports is one round trip."""

from __future__ import annotations

from collections.abc import Callable

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from helpers.stores.trace import RoundTrip

# Commands that the driver sends itself, to open, authenticate or close a connection.
_INTERNAL = {"hello", "ismaster", "saslStart", "saslContinue", "authenticate", "endSessions"}

_Event = CommandStartedEvent | CommandSucceededEvent | CommandFailedEvent


class CommandTrace(CommandListener):
    """Calls ``begin`` with the name of each command that is sent, while ``listening`` is set.

    Commands that open or close a connection are left out, and so are unacknowledged writes
    (``w=0``), which do not wait for a reply.
    """

    def __init__(self, begin: Callable[[str], RoundTrip | None]) -> None:
        self.listening = True
        self._begin = begin
        self._round_trips: dict[object, RoundTrip] = {}

    def started(self, event: CommandStartedEvent) -> None:
        concern = event.command.get("writeConcern") or {}
        is_internal = event.command_name in _INTERNAL
        if is_internal or concern.get("w") == 0 or not self.listening:
            return
        round_trip = self._begin(event.command_name)
        if round_trip is not None:
            self._round_trips[_key(event)] = round_trip

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self._end(event)

    def failed(self, event: CommandFailedEvent) -> None:
        self._end(event)

    def _end(self, event: CommandSucceededEvent | CommandFailedEvent) -> None:
        round_trip = self._round_trips.pop(_key(event), None)
        if round_trip is not None:
            round_trip.extend()


def _key(event: _Event) -> object:
    return event.request_id, event.connection_id
