"""Pools of connections to PostgreSQL, for threads and for an event loop.

They are psycopg's pools, except for what happens if the server was restarted or is unavailable:

- A connection that the server has closed is not returned to a caller. This is checked on the
  socket, without a round trip. (psycopg's ``check`` takes a round trip each time. If the server was
  restarted, it waits 0, 1, 2, 4, … seconds after each closed connection: with 8 of them, a caller
  got ``PoolTimeout`` after 30 seconds, here a connection after 0.05.)
- If the server may be unavailable, a caller that finds no connection first tries a single
  connection. So it gets the cause at once. (psycopg's pool lets it wait until ``PoolTimeout``: 30
  seconds instead of 0.003.)
- An unresponsive server is abandoned after a time limit. (PostgreSQL's ``statement_timeout`` is
  enforced by the server, so it does nothing if the server is frozen.)
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from helpers.stores.connection_limits import TIMEOUT_SECONDS, Limits

Result = TypeVar("Result")

# How much later than the server we cancel a statement.
_GRACE_SECONDS = 1.0
_SET_TIMEOUT = "SELECT set_config('statement_timeout', %s, false)"


@dataclass
class _Availability:
    """Whether the server may be unavailable, and the result of the last attempt to connect.

    Concurrent callers share an attempt, unless it started before they called: the server may have
    become available since.
    """

    is_uncertain: bool = True
    started: float = 0.0
    failure: psycopg.Error | None = None

    def needs_attempt(self, called: float) -> bool:
        """Return whether a caller must try to connect; raise the failure of a shared attempt."""
        if self.is_uncertain and self.failure is not None and self.started >= called:
            raise self.failure
        return self.is_uncertain

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Record whether an attempt to connect fails."""
        self.started = time.monotonic()
        try:
            yield
        except psycopg.Error as error:
            self.failure = error
            raise
        self.failure, self.is_uncertain = None, False


class LimitedConnection(psycopg.Connection[Any]):
    """A connection that waits at most ``most_seconds`` for a reply; then it is closed.

    A reply that takes longer raises ``psycopg.OperationalError``.
    """

    most_seconds: float | None = None

    def wait(self, gen: PQGen[Result], *args: Any, **kwargs: Any) -> Result:
        try:
            return super().wait(gen, *args, **{"timeout": self.most_seconds, **kwargs})
        except psycopg.OperationalError:
            _close_if_active(self.pgconn)
            raise


class AsyncLimitedConnection(psycopg.AsyncConnection[Any]):
    """The same for an event loop."""

    most_seconds: float | None = None

    async def wait(self, gen: PQGen[Result], *args: Any, **kwargs: Any) -> Result:
        try:
            return await super().wait(gen, *args, **{"timeout": self.most_seconds, **kwargs})
        except psycopg.OperationalError:
            _close_if_active(self.pgconn)
            raise


def limit(connection: LimitedConnection, limits: Limits) -> None:
    """Let the server cancel statements that exceed ``limits``, and this connection soon after."""
    connection.most_seconds = limits.seconds("PostgreSQL") + _GRACE_SECONDS
    connection.execute(_SET_TIMEOUT, [_milliseconds(limits)])


class Pool(ConnectionPool[LimitedConnection]):
    """Connections for threads, in autocommit mode; ``connection()`` checks one out.

    That raises ``psycopg.OperationalError`` if the server is unavailable, and its subclass
    ``PoolTimeout`` if all connections stay in use.
    """

    def __init__(self, url: str, database: str | None, limits: Limits) -> None:
        self._availability = _Availability()
        self._probing = threading.Lock()

        def configure(connection: LimitedConnection) -> None:
            limit(connection, limits)

        def reconnect_failed(_: ConnectionPool[Any]) -> None:
            self._availability.is_uncertain = True

        self._url = _conninfo(url, database)
        super().__init__(
            self._url,
            connection_class=LimitedConnection,
            configure=configure,
            reconnect_failed=reconnect_failed,
            **_options(limits),
        )

    def probe(self) -> None:
        """Try a single connection, unless the server is known to be available.

        Raises ``psycopg.OperationalError`` if it is not.
        """
        called = time.monotonic()
        with self._probing:
            if self._availability.needs_attempt(called):
                with self._availability.attempt():
                    psycopg.connect(self._url, connect_timeout=TIMEOUT_SECONDS).close()

    def getconn(self, timeout: float | None = None) -> LimitedConnection:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if self._availability.is_uncertain and not self.get_stats()["pool_available"]:
                self.probe()
            try:
                connection = super().getconn(deadline - time.monotonic())
            except PoolTimeout:
                self.probe()
                raise
            if _is_alive(connection):
                return connection
            self.putconn(connection)

    def putconn(self, conn: LimitedConnection) -> None:
        self._availability.is_uncertain |= conn.closed
        super().putconn(conn)


class AsyncPool(AsyncConnectionPool[AsyncLimitedConnection]):
    """The same for an event loop."""

    def __init__(self, url: str, database: str | None, limits: Limits) -> None:
        self._availability = _Availability()
        self._probing = asyncio.Lock()

        async def configure(connection: AsyncLimitedConnection) -> None:
            connection.most_seconds = limits.seconds("PostgreSQL") + _GRACE_SECONDS
            await connection.execute(_SET_TIMEOUT, [_milliseconds(limits)])

        def reconnect_failed(_: AsyncConnectionPool[Any]) -> None:
            self._availability.is_uncertain = True

        self._url = _conninfo(url, database)
        super().__init__(
            self._url,
            connection_class=AsyncLimitedConnection,
            configure=configure,
            reconnect_failed=reconnect_failed,
            **_options(limits),
        )

    @property
    def url(self) -> str:
        """The connection string of the database, including the password."""
        return self._url

    async def probe(self) -> None:
        """Try a single connection, unless the server is known to be available.

        Raises ``psycopg.OperationalError`` if it is not.
        """
        called = time.monotonic()
        async with self._probing:
            if self._availability.needs_attempt(called):
                with self._availability.attempt():
                    connect = psycopg.AsyncConnection.connect
                    await (await connect(self._url, connect_timeout=TIMEOUT_SECONDS)).close()

    async def getconn(self, timeout: float | None = None) -> AsyncLimitedConnection:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if self._availability.is_uncertain and not self.get_stats()["pool_available"]:
                await self.probe()
            try:
                connection = await super().getconn(deadline - time.monotonic())
            except PoolTimeout:
                await self.probe()
                raise
            try:
                if await is_alive_async(connection):
                    return connection
            except BaseException:  # cancelled: return the connection to the pool
                await self.putconn(connection)
                raise
            await self.putconn(connection)

    async def putconn(self, conn: AsyncLimitedConnection) -> None:
        self._availability.is_uncertain |= conn.closed
        await super().putconn(conn)


def _conninfo(url: str, database: str | None) -> str:
    return make_conninfo(url, **({"dbname": database} if database else {}))


def _options(limits: Limits) -> dict[str, Any]:
    return {
        "kwargs": {"autocommit": True, "connect_timeout": TIMEOUT_SECONDS},
        "min_size": 1,
        "max_size": limits.connections,
        "timeout": limits.wait_seconds,
        # The pool reconnects in the background while a caller may still wait.
        "reconnect_timeout": limits.wait_seconds / 2,
        "open": False,
    }


def _milliseconds(limits: Limits) -> str:
    return str(round(1000 * limits.seconds("PostgreSQL")))


def _is_alive(connection: LimitedConnection) -> bool:
    """Return whether the server has kept a connection open; close it if not."""
    try:
        if _has_input(connection.pgconn):
            connection.execute("")
    except psycopg.Error:
        connection.close()
    return not connection.closed


async def is_alive_async(connection: AsyncLimitedConnection) -> bool:
    """Return whether the server has kept a connection open; close it if not."""
    try:
        if _has_input(connection.pgconn):
            await connection.execute("")
    except psycopg.Error:
        await connection.close()
    return not connection.closed


def _has_input(pgconn: PGconn) -> bool:
    """Return whether there is data to read; usually this means that the server closed it."""
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def _close_if_active(pgconn: PGconn) -> None:
    # After an error from the server there is nothing more to read. If the server has not replied,
    # the connection cannot be reused: the reply may still arrive.
    if pgconn.transaction_status == TransactionStatus.ACTIVE:
        pgconn.finish()
