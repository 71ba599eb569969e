"""The project's databases, separate from the shop's and the lessons'."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from psycopg import sql

from helpers.errors import SettingsError, StoreError
from helpers.settings import load_settings
from helpers.shop import locate
from helpers.shop.opening import open_alone
from helpers.stores import Stores
from helpers.stores.ownership import MONGO_MARKER, claim
from helpers.stores.stores import connect_all

#: Environment variables for other databases, so that several notebooks can run side by side.
NAME, NUMBER = "PROJECT_DATABASE", "PROJECT_REDIS_DATABASE"
#: Is set where the databases are there and the present role may not create any.
PREPARED = "PROJECT_PREPARED"

_NAME, _NUMBER = "lesson_07_project", "8"


def open_project() -> Stores:
    """Connect to the project's databases and empty them.

    Raises ``SettingsError``, ``ServerError`` or ``StoreError``; ``CourseError`` if another process
    has them open.
    """
    name, number = _place()
    settings = load_settings()
    if os.environ.get(PREPARED):
        return connect_all(locate(settings), database=name, redis_database=number)
    return open_alone("The project", name, number, settings)


@contextlib.contextmanager
def fresh_stores() -> Iterator[Stores]:
    """Open another connection to the project's databases, empty them, and close it at the end.

    Raises ``SettingsError``, ``ServerError`` or ``StoreError``.
    """
    name, number = _place()
    addresses = locate(load_settings())
    try:
        stores = connect_all(addresses, database=name, redis_database=number)
    except StoreError:  # the database was dropped
        stores = open_project()
    with stores:
        claim(stores)
        _empty(stores)
        yield stores


def _place() -> tuple[str, int]:
    name, number = os.environ.get(NAME, _NAME), os.environ.get(NUMBER, _NUMBER)
    if not number.isdecimal():
        raise SettingsError(f"{NUMBER} is {number!r}: give the number of a logical database.")
    return name, int(number)


def _empty(stores: Stores) -> None:
    tables = stores.postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables.fetchall():
        drop = sql.SQL("DROP TABLE IF EXISTS public.{} CASCADE")
        stores.postgres.execute(drop.format(sql.Identifier(table)))
    for name in set(stores.mongo.list_collection_names()) - {MONGO_MARKER}:
        stores.mongo.drop_collection(name)
    stores.redis.flushdb()
