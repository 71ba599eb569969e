"""Connect to each of the three stores, and explain in one sentence why that failed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import psycopg
import pymongo
import redis
from psycopg.conninfo import make_conninfo
from pymongo.database import Database
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)
from pymongo.monitoring import CommandListener

from helpers.errors import StoreError, StoreName
from helpers.settings import DATABASE, Addresses, redact
from helpers.stores.connection_limits import TIMEOUT_SECONDS
from helpers.stores.long_lists import slow_at_lists

Document = dict[str, Any]

#: The key that marks a logical database as the course's.
REDIS_MARKER = "course:marker"

_FLUSH = """
local marker = redis.call('GET', KEYS[1])
redis.call('FLUSHDB')
if marker then redis.call('SET', KEYS[1], marker) end
return 1
"""
Kind = TypeVar("Kind", bound=psycopg.Connection)

_START = "Start it, or correct its address"
_WAIT = "Try again in a moment, or allow more of them"
_LOG_IN = "Correct the user or the password in its address"

# Part of a driver's error message, the cause in our words, and the way out.
_CAUSES = (
    ("password authentication failed", "the user or the password is wrong", _LOG_IN),
    ("no password supplied", "it requires a password", _LOG_IN),
    ("no pg_hba.conf entry", "it does not accept this user from here", _LOG_IN),
    ("AuthenticationFailed", "the user or the password is wrong", _LOG_IN),
    ("Authentication failed", "the user or the password is wrong", _LOG_IN),
    ("requires authentication", "it requires a user and a password", _LOG_IN),
    ("WRONGPASS", "the user or the password is wrong", _LOG_IN),
    ("invalid username-password pair", "the user or the password is wrong", _LOG_IN),
    ("invalid password", "the user or the password is wrong", _LOG_IN),
    ("NOAUTH", "it requires a password", _LOG_IN),
    ("Authentication required", "it requires a password", _LOG_IN),
    ("without any password configured", "it has no password, but the address gives one", _LOG_IN),
    (
        "DB index is out of range",
        "it has no logical database of that number",
        "Name a smaller one at the end of its address, or allow more in its configuration",
    ),
    (
        "terminating connection due to administrator command",
        "it was stopped, or the database was opened again by the same notebook in another kernel",
        "Run the notebook from the top, in one kernel",
    ),
    ("the database system is starting up", "it is still starting", "Try again in a moment"),
    ("couldn't get a connection", "all our connections to it are in use", _WAIT),
    ("Timed out while checking out a connection", "all our connections to it are in use", _WAIT),
    ("No connection available", "all our connections to it are in use", _WAIT),
    ("too many clients", "it has no free connection", "Close other notebooks or programs"),
    ("No space left on device", "its disk is full", "Free some space there"),
    ("Name or service not known", "its host name is not known", "Correct its address"),
    ("nodename nor servname", "its host name is not known", "Correct its address"),
    ("name resolution", "its host name cannot be resolved", "Correct its address"),
    ("failed to resolve host", "its host name is not known", "Correct its address"),
    ("Connection refused", "nobody listens there", _START),
    ("timed out", "it did not answer in time", _START),
    ("timeout", "it did not answer in time", _START),
    ("Timeout", "it did not answer in time", _START),
    ("closed the connection unexpectedly", "it closed the connection", _START),
    ("Connection closed", "it closed the connection", _START),
    ("Connection reset", "it closed the connection", _START),
)


@overload
def connect_postgres(url: str, *, database: str | None = None) -> psycopg.Connection: ...


@overload
def connect_postgres(url: str, *, database: str | None = None, kind: type[Kind]) -> Kind: ...


def connect_postgres(
    url: str,
    *,
    database: str | None = None,
    kind: type[psycopg.Connection[Any]] = psycopg.Connection,
) -> psycopg.Connection[Any]:
    """Connect to one PostgreSQL node, in autocommit mode.

    ``database`` overrides the one in ``url``; ``kind`` is the class of the connection. Raises
    ``StoreError``.
    """
    with explaining("PostgreSQL", url):
        conninfo = make_conninfo(url, dbname=database) if database else url
        return kind.connect(conninfo, autocommit=True, connect_timeout=TIMEOUT_SECONDS)


def connect_mongo(
    url: str,
    *,
    database: str | None = None,
    listeners: Sequence[CommandListener] = (),
    answer_seconds: float | None = None,
) -> Database[Document]:
    """Connect to MongoDB and return one of its databases.

    ``database`` defaults to the one in ``url``, or else to the shop's; ``listeners`` receive each
    command; ``answer_seconds`` limits the wait for a reply. Raises ``StoreError``. Close the
    connection with ``database.client.close()``.
    """
    milliseconds = TIMEOUT_SECONDS * 1000
    with explaining("MongoDB", url):
        client: pymongo.MongoClient[Document] = pymongo.MongoClient(
            url,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=None if answer_seconds is None else round(1000 * answer_seconds),
            event_listeners=listeners,
        )
        try:
            found = client[database] if database else client.get_default_database(DATABASE)
            found.command("listCollections", nameOnly=True)
            slow_at_lists(client)  # queried here once, and cached for the requests
        except BaseException:
            client.close()
            raise
    return found


def connect_redis(
    url: str, *, database: int | None = None, answer_seconds: float | None = None
) -> redis.Redis:
    """Connect to Redis, with strings decoded.

    ``database`` is the number of a logical database and overrides the one in ``url``;
    ``answer_seconds`` limits the wait for a reply. Raises ``StoreError``.
    """
    with explaining("Redis", url):
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=answer_seconds,
        )
        _keep_marker(client)
        if database is not None:
            client.connection_pool.connection_kwargs["db"] = database
        try:
            client.ping()
        except BaseException:
            client.close()
            raise
    return client


def _keep_marker(client: redis.Redis) -> None:
    """Let ``client.flushdb()`` keep the marker of ownership (``helpers.stores.ownership``).

    The method is replaced on this client only: lessons show that it is redis-py's own class.
    """

    def flushdb(*_: Any, **__: Any) -> bool:
        return bool(client.eval(_FLUSH, 1, REDIS_MARKER))

    setattr(client, "flushdb", flushdb)  # noqa: B010 - mypy forbids to assign a method


@contextlib.contextmanager
def explaining(store: StoreName, url: str) -> Iterator[None]:
    """Turn a failure to connect to ``store`` into a ``StoreError``; let other errors pass."""
    try:
        yield
    except (psycopg.OperationalError, ConnectionFailure, redis.RedisError) as error:
        raise explained(store, url, error) from None
    except OperationFailure as error:
        if error.code not in {13, 18, 8000}:  # not authorised, authentication failed (Atlas: 8000)
            raise
        raise explained(store, url, error) from None
    except psycopg.errors.InsufficientPrivilege as error:
        reason = (error.diag.message_primary or "").replace("permission denied", "it has no right")
        raise StoreError(
            store, redact(url), reason, "Use a user who may, such as postgres."
        ) from None
    except (InvalidURI, ConfigurationError, psycopg.ProgrammingError, ValueError) as error:
        if isinstance(error, psycopg.Error) and error.sqlstate:
            raise
        cause = "its address is malformed"
        if isinstance(error, PyMongoError) and "DNS" in str(error):
            cause = "its host name cannot be resolved"
        raise StoreError(store, redact(url), cause, "Correct its address.") from None


@contextlib.contextmanager
def explaining_all(addresses: Addresses, store: StoreName | None = None) -> Iterator[None]:
    """Turn any error of the three drivers into a ``StoreError``, for use at the very top.

    With ``store``, a ``TimeoutError`` means that this store did not respond in time.
    """
    try:
        yield
    except TimeoutError:
        if store is None:
            raise
        raise explained(store, addresses[store], TimeoutError("timed out")) from None
    except psycopg.Error as error:
        raise explained("PostgreSQL", addresses.coordinator, error) from error
    except PyMongoError as error:
        raise explained("MongoDB", addresses.mongo, error) from error
    except redis.RedisError as error:
        raise explained("Redis", addresses.redis, error) from error


def explained(store: StoreName, url: str, error: Exception) -> StoreError:
    """Return the ``StoreError`` for a driver's error, without the driver's message."""
    text = str(error)
    if isinstance(error, psycopg.OperationalError) and "does not exist" in text:
        what = "database" if 'database "' in text else "role"
        missing = text.split(f'{what} "')[-1].split('"')[0]
        return StoreError(
            store,
            redact(url),
            f"it has no {what} {missing!r}",
            "Create it, or correct its address.",
        )
    for sign, cause, way_out in _CAUSES:
        if sign in text:
            return StoreError(store, redact(url), cause, f"{way_out}.")
    # The driver's message may contain the address with its password; the class name does not.
    return StoreError(
        store,
        redact(url),
        f"it stopped the work ({type(error).__name__})",
        "Look at `python -m helpers status`, then repeat what you did.",
    )
