"""Trace the requests to the three stores, through the drivers' own interfaces.

A round trip is a wait for a store's reply. What counts:

- PostgreSQL: each wait of psycopg, whatever it is for. ``execute`` is one, and one more if the
  driver first begins a transaction or prepares the statement, or afterwards deallocates prepared
  ones; ``executemany`` is one, for any number of rows (with ``returning=True`` two);
  ``COPY … FROM STDIN`` two, to begin and to end; ``COPY … TO`` and ``stream`` one;
  ``transaction()`` two besides its statements; a pipeline one each time the driver waits for its
  results, named after its first statement.
- MongoDB: each command that PyMongo sends and that is acknowledged, so a ``find`` is one, and each
  ``getMore`` after it another.
- Redis: all that redis-py sends in one go, so a pipeline of any length is one, and so are ``MGET``
  and a script. A command that is sent again after a failure counts again.

Opening and closing connections does not count. Nothing in the drivers is replaced: the traced
connections are new ones, of our own classes.

OpenTelemetry's instrumentations count method calls instead: they miss ``COPY`` and the driver's
``BEGIN``, count each statement of a psycopg pipeline and an empty redis-py pipeline, and PyMongo's
can only be registered for the whole process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pymongo.database import Database

from helpers.stores.connect import Document, connect_mongo
from helpers.stores.stores import Stores, connect_again
from helpers.stores.trace import Trace
from helpers.stores.trace_mongo import CommandTrace
from helpers.stores.trace_postgres import PostgresTrace, TracedConnection
from helpers.stores.trace_redis import trace_redis


@contextlib.contextmanager
def traced(stores: Stores) -> Iterator[tuple[Stores, Trace]]:
    """Connect to the databases of ``stores`` with new connections, and trace their round trips.

    ``stores`` itself does not change and is not traced. If it is proxied, the new connections are
    too. The trace can still be read after the end.

    Raises ``StoreError`` if a store does not respond.
    """
    trace = Trace()
    listener = CommandTrace(lambda name: trace.begin("MongoDB", name))
    with connect_again(stores, kind=TracedConnection, listeners=[listener]) as counted:
        trace_redis(counted.redis, trace)
        assert isinstance(counted.postgres, TracedConnection)
        counted.postgres.tracer = PostgresTrace(trace)
        trace.clear()
        try:
            yield counted, trace
        finally:
            trace.stop()


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
