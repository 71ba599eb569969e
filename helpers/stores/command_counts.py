"""Record the commands that PyMongo sends, through its own monitoring."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pymongo.database import Database

from helpers.stores.connect import Document, connect_mongo
from helpers.stores.stores import Stores
from helpers.stores.trace_mongo import CommandTrace


@contextlib.contextmanager
def count_commands(stores: Stores) -> Iterator[tuple[Database[Document], list[str]]]:
    """Connect to the database of ``stores`` again; yield it and the names of the commands sent.

    Each command is one round trip. Clear the list to start counting again.
    """
    names: list[str] = []
    listener = CommandTrace(names.append)
    database = connect_mongo(
        stores.addresses.mongo, database=stores.mongo.name, listeners=[listener]
    )
    with database.client:
        names.clear()
        try:
            yield database, names
        finally:
            listener.listening = False  # closing may send commands too
