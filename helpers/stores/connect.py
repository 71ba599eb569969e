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
# MongoDB's error codes: not authorised, authentication failed (Atlas: 8000), unknown mechanism.
_REFUSALS = {13, 18, 334, 8000}

Kind = TypeVar("Kind", bound=psycopg.Connection)

_START = "Start it, or correct its address"
_CLOSED = "Start it, or correct its address: it may require TLS, or be another program"
_SILENT = "Start it, or correct its address: another program may listen there, or one without TLS"
_OTHER = "Correct its address"
_WAIT = "Try again in a moment, or allow more of them"
_AGAIN = "Try again in a moment"
_LOG_IN = "Correct the user or the password in its address"
_RIGHTS = "Use a user who may, or grant the right"
_PRIMARY = "Give the address of the primary"
_TLS = "Correct what its address says about TLS"
_MALFORMED = "its address is malformed"

# Part of a driver's error message, the cause in our words, and the way out. The first match counts:
# messages of any cause may also mention a timeout.
_CAUSES = (
    ("password authentication failed", "the user or the password is wrong", _LOG_IN),
    ("no password supplied", "it requires a password", _LOG_IN),
    (
        "no pg_hba.conf entry",
        "it does not accept this user from this computer, or only with TLS",
        "Add sslmode=require to its address, or allow the user in its pg_hba.conf",
    ),
    ("authentication failed", "the user or the password is wrong", _LOG_IN),
    ("AuthenticationFailed", "the user or the password is wrong", _LOG_IN),
    ("Authentication failed", "the user or the password is wrong", _LOG_IN),
    ("requires authentication", "it requires a user and a password", _LOG_IN),
    ("WRONGPASS", "the user or the password is wrong", _LOG_IN),
    ("invalid username-password pair", "the user or the password is wrong", _LOG_IN),
    ("invalid password", "the user or the password is wrong", _LOG_IN),
    ("NOAUTH", "it requires a password", _LOG_IN),
    ("Authentication required", "it requires a password", _LOG_IN),
    ("client already authenticated", "it requires a password", _LOG_IN),
    ("without any password configured", "it has no password, but the address gives one", _LOG_IN),
    ("SQLSTATE 42501", "the user has no right to do this", _RIGHTS),
    ("not authorized", "the user has no right to do this", _RIGHTS),
    ("NOPERM", "the user has no right to do this", _RIGHTS),
    ("has no permissions", "the user has no right to do this", _RIGHTS),
    (
        "DB index is out of range",
        "it has no logical database of that number",
        "Name a smaller one at the end of its address, or allow more in its configuration",
    ),
    (
        "not allowed in cluster mode",
        "it is a Redis Cluster, which has a single logical database",
        "Use a server that is not part of a cluster",
    ),
    ("SQLSTATE 25006", "it is a replica, which is read-only", _PRIMARY),
    ("read only replica", "it is a replica, which is read-only", _PRIMARY),
    ("not primary", "it is not the primary of its replica set", _PRIMARY),
    ("not master", "it is not the primary of its replica set", _PRIMARY),
    (
        "for replica set name",
        "it has no replica set of this name",
        "Correct replicaSet in its address",
    ),
    ("the database system is starting up", "it is still starting", _AGAIN),
    ("not yet accepting connections", "it is still starting", _AGAIN),
    ("loading the dataset", "it is still starting", _AGAIN),
    ("the database system is shutting down", "it is being stopped", _START),
    (
        "SQLSTATE 57P01",
        "it was stopped, or another kernel or program opened its database again",
        "Start it; in a notebook, run all cells from the top, in one kernel",
    ),
    ("couldn't get a connection", "all our connections to it are in use", _WAIT),
    ("Timed out while checking out a connection", "all our connections to it are in use", _WAIT),
    ("No connection available", "all our connections to it are in use", _WAIT),
    ("SQLSTATE 53300", "it has no free connection", "Close other notebooks or programs"),
    ("too many clients", "it has no free connection", "Close other notebooks or programs"),
    ("reserved for", "it has no free connection", "Close other notebooks or programs"),
    ("too many connections", "it has no free connection", "Close other notebooks or programs"),
    ("max number of clients", "it has no free connection", "Close other notebooks or programs"),
    ("SQLSTATE 53100", "its disk is full", "Free some space there"),
    ("No space left on device", "its disk is full", "Free some space there"),
    ("available disk space", "its disk is full", "Free some space there"),
    (
        "unable to persist",
        "it cannot write to its disk",
        "Free some space there, or correct the permissions of its folder",
    ),
    (
        "maxmemory",
        "its memory is full",
        "Increase maxmemory in its configuration, or delete keys",
    ),
    ("SQLSTATE 57014", "a query took longer than its limit, or was cancelled", _AGAIN),
    ("SQLSTATE 55P03", "others hold locks that this needs", _AGAIN),
    ("SQLSTATE 40P01", "others hold locks that this needs", _AGAIN),
    ("Name or service not known", "its host name is not known", "Correct its address"),
    ("nodename nor servname", "its host name is not known", "Correct its address"),
    ("name resolution", "its host name cannot be resolved", "Correct its address"),
    ("failed to resolve host", "its host name is not known", "Correct its address"),
    ("invalid port number", _MALFORMED, "Correct its address"),
    ("invalid integer value", _MALFORMED, "Correct its address"),
    ("invalid sslmode value", _MALFORMED, "Correct its address"),
    ("does not support SSL", "it does not offer TLS, which the address requires", _TLS),
    ("certificate verify failed", "its TLS certificate is not trusted", _TLS),
    ("WRONG_VERSION_NUMBER", "it does not offer TLS, which the address requires", _TLS),
    ("response to SSL negotiation", "another program listens there", _OTHER),
    ("expected authentication request", "another program listens there", _OTHER),
    ("Got response id", "another program listens there", _OTHER),
    ("Protocol error, got", "another program listens there", _OTHER),
    ("Connection refused", "nobody listens there", _START),
    ("failed: No such file or directory", "nobody listens there", _START),
    ("definition of service", "PGSERVICE names a service that is not defined", "Unset PGSERVICE"),
    ("connection closed", "it closed the connection", _CLOSED),
    ("closed the connection unexpectedly", "it closed the connection", _CLOSED),
    ("Connection closed", "it closed the connection", _CLOSED),
    ("Connection reset", "it closed the connection", _CLOSED),
    ("No route to host", "it cannot be reached from here", _OTHER),
    ("Network is unreachable", "it cannot be reached from here", _OTHER),
    ("timed out", "it did not answer in time", _SILENT),
    ("timeout", "it did not answer in time", _SILENT),
    ("Timeout", "it did not answer in time", _SILENT),
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
    with explaining("Redis", url), _refusing_unknown_options():
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=answer_seconds or TIMEOUT_SECONDS,
        )
        _keep_marker(client)
        options = client.connection_pool.connection_kwargs
        if database is not None:
            options["db"] = database
        try:
            client.ping()
            if answer_seconds is None and options["socket_timeout"] == TIMEOUT_SECONDS:
                # The limit was for the first answer only. A connection keeps its own.
                options["socket_timeout"] = None
                client.connection_pool.disconnect()
                client.connection_pool.reset()
        except BaseException:
            client.close()
            raise
    return client


@contextlib.contextmanager
def _refusing_unknown_options() -> Iterator[None]:
    """Turn redis-py's ``TypeError`` for an unknown option of an address into a ``ValueError``."""
    try:
        yield
    except TypeError as error:
        raise ValueError(str(error)) from None


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
        if error.code not in _REFUSALS:
            raise
        raise explained(store, url, error) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise explained(store, url, error) from None
    except (InvalidURI, ConfigurationError, psycopg.ProgrammingError, ValueError) as error:
        if isinstance(error, psycopg.Error) and error.sqlstate:
            raise
        cause = _MALFORMED
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
    """Return the ``StoreError`` for a driver's error.

    A driver's own message may contain the address with its password, so it is not repeated; what a
    PostgreSQL or MongoDB server says does not.
    """
    said = _server_message(error)
    text = said or str(error)
    if isinstance(error, psycopg.Error) and error.sqlstate:
        text = f"SQLSTATE {error.sqlstate}: {text}"  # its message may be in any language
    if isinstance(error, psycopg.OperationalError) and "does not exist" in text:
        what = "database" if 'database "' in text else "role"
        missing = text.split(f'{what} "')[-1].split('"')[0]
        return StoreError(
            store,
            redact(url),
            f"it has no {what} {missing!r}",
            "Create it, or correct its address.",
        )
    detail = f"It says: {said}. " if said else ""
    for sign, cause, way_out in _CAUSES:
        if sign in text:
            # What is not allowed differs, so the server's words are of use.
            known = f"{detail if way_out == _RIGHTS else ''}{way_out}."
            return StoreError(store, redact(url), cause, known)
    return StoreError(
        store,
        redact(url),
        f"it stopped the work ({type(error).__name__})",
        f"{detail}Look at `python -m helpers status`, then repeat what you did.",
    )


def _server_message(error: Exception) -> str:
    """Return what the server says about an error, on one line; empty if it says nothing.

    Without the documents and rows that a message may also quote: they could look like a cause.
    """
    said: Any = None
    if isinstance(error, psycopg.Error):
        said = error.diag.message_primary
    elif isinstance(error, OperationFailure):
        details: Any = error.details or {}
        for found in (
            details,
            *details.get("writeErrors", []),
            *details.get("writeConcernErrors", []),
        ):
            said = said or found.get("errmsg")
    return " ".join(str(said or "").split()).rstrip(".")[:200]
