"""Counting what is sent to MongoDB: by the driver's own monitoring, not by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pymongo
from pymongo.database import Database
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from helpers.stores.connect import Document
from helpers.stores.stores import Stores


class _Names(CommandListener):
    """Writes down the name of each command when it is sent."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.counting = True

    def started(self, event: CommandStartedEvent) -> None:
        if self.counting:
            self.names.append(event.command_name)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to do: a command is counted when it is sent."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to do: a command is counted when it is sent."""


@contextlib.contextmanager
def count_commands(stores: Stores) -> Iterator[tuple[Database[Document], list[str]]]:
    """Give the database of ``stores`` once more, and the names of the commands sent through it.

    Each command is one round trip. Clear the list to count anew.
    """
    listener = _Names()
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(
        stores.addresses.mongo, event_listeners=[listener]
    )
    with client:
        client.admin.command("ping")
        listener.names.clear()
        try:
            yield client[stores.mongo.name], listener.names
        finally:
            listener.counting = False  # closing sends a command of its own
