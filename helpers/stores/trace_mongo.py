"""Watching MongoDB's round trips: by PyMongo's own monitoring. Each command is one."""

from __future__ import annotations

from collections.abc import Callable

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from helpers.stores.trace import Exchange

# What the driver says by itself, when it makes a connection and when it is closed.
_NOT_ASKED = {"hello", "ismaster", "saslStart", "saslContinue", "authenticate", "endSessions"}

_Event = CommandStartedEvent | CommandSucceededEvent | CommandFailedEvent


class CommandTrace(CommandListener):
    """Calls ``begin`` with the name of each command when it is sent, while ``listening`` is set.

    What belongs to making a connection and closing it is left out, and so are writes that nobody
    acknowledges (``w=0``): they are not waited for.
    """

    def __init__(self, begin: Callable[[str], Exchange | None]) -> None:
        self.listening = True
        self._begin = begin
        self._exchanges: dict[object, Exchange] = {}

    def started(self, event: CommandStartedEvent) -> None:
        concern = event.command.get("writeConcern") or {}
        unasked = event.command_name in _NOT_ASKED or concern.get("w") == 0
        if unasked or not self.listening:
            return
        exchange = self._begin(event.command_name)
        if exchange is not None:
            self._exchanges[_key(event)] = exchange

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self._end(event)

    def failed(self, event: CommandFailedEvent) -> None:
        self._end(event)

    def _end(self, event: CommandSucceededEvent | CommandFailedEvent) -> None:
        exchange = self._exchanges.pop(_key(event), None)
        if exchange is not None:
            exchange.extend()


def _key(event: _Event) -> object:
    return event.request_id, event.connection_id
