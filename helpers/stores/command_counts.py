"""Counting what is sent to MongoDB: by the driver's own monitoring, not by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pymongo.database import Database

from helpers.stores.connect import Document, connect_mongo
from helpers.stores.stores import Stores
from helpers.stores.trace_mongo import CommandTrace


@contextlib.contextmanager
def count_commands(stores: Stores) -> Iterator[tuple[Database[Document], list[str]]]:
    """Give the database of ``stores`` once more, and the names of the commands sent through it.

    Each command is one round trip. Clear the list to count anew.
    """
    names: list[str] = []
    watch = CommandTrace(names.append)
    database = connect_mongo(stores.addresses.mongo, database=stores.mongo.name, listeners=[watch])
    with database.client:
        names.clear()
        try:
            yield database, names
        finally:
            watch.listening = False  # closing may send commands of its own
