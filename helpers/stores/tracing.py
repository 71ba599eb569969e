"""Counting what is asked of the three stores, and when: by the drivers' own interfaces.

A round trip is a wait for a store's answer. What is counted:

- PostgreSQL: each wait of psycopg, whatever it is for. ``execute`` is one, and one more where the
  driver first begins a transaction or prepares the statement, or afterwards lets prepared ones go;
  ``executemany`` is one, however many rows (with ``returning=True`` two); ``COPY … FROM STDIN``
  two, to begin and to end; ``COPY … TO`` and ``stream`` one; ``transaction()`` two beside what is
  in it; a pipeline one for each time that the driver waits for its results, named after its first
  statement.
- MongoDB: each command that PyMongo sends and that is answered, so a ``find`` is one, and each
  ``getMore`` after it another.
- Redis: all that redis-py sends at once, so a pipeline of any length is one, and so are ``MGET``
  and a script. A command that is sent anew after a failure counts again.

Making and closing connections is not counted. Nothing in the drivers is replaced: the connections
that are counted are new ones, of classes of their own.

OpenTelemetry's instrumentations count calls of methods instead: they see neither ``COPY`` nor the
driver's ``BEGIN``, count each statement of a psycopg pipeline and a redis-py pipeline that is
empty, and PyMongo's can only be registered for the whole process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from helpers.stores.connect import connect_mongo, connect_postgres, connect_redis
from helpers.stores.stores import Stores
from helpers.stores.trace import Trace
from helpers.stores.trace_mongo import CommandTrace
from helpers.stores.trace_postgres import PostgresTrace, TracedConnection
from helpers.stores.trace_redis import trace_redis


@contextlib.contextmanager
def traced(stores: Stores) -> Iterator[tuple[Stores, Trace]]:
    """Connect to the databases of ``stores`` once more, and write down each round trip.

    ``stores`` itself stays as it is and is not counted. Where it is reached through links, the new
    connections are too. The trace can be read after the end, too.

    Raises ``StoreError`` where a store does not answer.
    """
    addresses, trace = stores.addresses, Trace()
    with contextlib.ExitStack() as opened:
        postgres = connect_postgres(
            addresses.coordinator, database=stores.postgres.info.dbname, kind=TracedConnection
        )
        opened.callback(postgres.close)
        watch = CommandTrace(lambda name: trace.begin("MongoDB", name))
        mongo = connect_mongo(addresses.mongo, database=stores.mongo.name, listeners=[watch])
        opened.callback(mongo.client.close)
        number = stores.redis.connection_pool.connection_kwargs.get("db")
        client = connect_redis(addresses.redis, database=number)
        opened.callback(client.close)
        trace_redis(client, trace)
        postgres.watch = PostgresTrace(trace)
        trace.clear()
        opened.callback(trace.stop)
        yield Stores(postgres, mongo, client, addresses), trace
