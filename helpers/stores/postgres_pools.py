"""Pools of connections to PostgreSQL, for threads and for an event loop.

They are psycopg's own, and differ in what happens when the server was started again, or is away:

- A connection that the server has closed is not lent. That is seen on the socket, without a round
  trip. (psycopg's own check takes one each time, and waits a second after the first connection
  that fails it, two after the next, four after the third.)
- While it is in doubt whether the server is there, whoever finds no connection makes one by hand
  first. So he is told at once, and by its cause, that the server is away. (psycopg's pool lets him
  wait, and says that it had no connection.)
- A server that says nothing at all is given up. (PostgreSQL's ``statement_timeout`` is kept by
  the server, so it ends what takes too long only where the server lives.)
"""

from __future__ import annotations

import asyncio
import select
import threading
import time
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

# So much later than the server would end a statement, we do.
_GRACE_SECONDS = 1.0
_SET_TIMEOUT = "SELECT set_config('statement_timeout', %s, false)"


@dataclass
class _Doubt:
    """Whether it is known that the server is there, and what the last attempt to connect met.

    Those who want to know share an attempt, but for one that began before they asked: the server
    may have come back since.
    """

    is_open: bool = True
    began: float = 0.0
    failure: psycopg.Error | None = None

    def raise_since(self, asked: float) -> None:
        if self.failure is not None and self.began >= asked:
            raise self.failure

    def begin(self) -> None:
        self.began = time.monotonic()

    def end(self, failure: psycopg.Error | None = None) -> None:
        self.failure = failure
        self.is_open = failure is not None


class LimitedConnection(psycopg.Connection[Any]):
    """A connection that waits up to ``most_seconds`` for an answer; then it is closed.

    What does not come in time raises ``psycopg.OperationalError``.
    """

    most_seconds: float | None = None

    def wait(self, gen: PQGen[Result], *args: Any, **kwargs: Any) -> Result:
        try:
            return super().wait(gen, *args, **{"timeout": self.most_seconds, **kwargs})
        except psycopg.OperationalError:
            _close_unanswered(self.pgconn)
            raise


class AsyncLimitedConnection(psycopg.AsyncConnection[Any]):
    """The same for an event loop."""

    most_seconds: float | None = None

    async def wait(self, gen: PQGen[Result], *args: Any, **kwargs: Any) -> Result:
        try:
            return await super().wait(gen, *args, **{"timeout": self.most_seconds, **kwargs})
        except psycopg.OperationalError:
            _close_unanswered(self.pgconn)
            raise


def limit(connection: LimitedConnection, limits: Limits) -> None:
    """Let the server end what takes longer than ``limits`` allow, and us soon after."""
    connection.most_seconds = limits.seconds("PostgreSQL") + _GRACE_SECONDS
    connection.execute(_SET_TIMEOUT, [_milliseconds(limits)])


class Pool(ConnectionPool[LimitedConnection]):
    """Connections for threads, in autocommit mode. ``connection()`` lends one.

    Lending raises ``psycopg.OperationalError`` where the server is away, and ``PoolTimeout``, which
    is one, where all connections are lent for too long.
    """

    def __init__(self, url: str, database: str | None, limits: Limits) -> None:
        self._doubt = _Doubt()
        self._probing = threading.Lock()

        def configure(connection: LimitedConnection) -> None:
            limit(connection, limits)

        def doubt(_: ConnectionPool[Any]) -> None:
            self._doubt.is_open = True

        self._url = _conninfo(url, database)
        super().__init__(
            self._url,
            connection_class=LimitedConnection,
            configure=configure,
            reconnect_failed=doubt,
            **_options(limits),
        )

    def probe(self) -> None:
        """Connect by hand, unless it is known by now that the server is there.

        Raises ``psycopg.OperationalError`` where it is not.
        """
        asked = time.monotonic()
        with self._probing:
            if not self._doubt.is_open:
                return
            self._doubt.raise_since(asked)
            self._doubt.begin()
            try:
                psycopg.connect(self._url, connect_timeout=TIMEOUT_SECONDS).close()
            except psycopg.Error as error:
                self._doubt.end(error)
                raise
            self._doubt.end()

    def getconn(self, timeout: float | None = None) -> LimitedConnection:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if self._doubt.is_open and not self.get_stats()["pool_available"]:
                self.probe()
            try:
                connection = super().getconn(deadline - time.monotonic())
            except PoolTimeout:
                self.probe()
                raise
            if _is_there(connection):
                return connection
            self.putconn(connection)

    def putconn(self, conn: LimitedConnection) -> None:
        self._doubt.is_open |= conn.closed
        super().putconn(conn)


class AsyncPool(AsyncConnectionPool[AsyncLimitedConnection]):
    """The same for an event loop."""

    def __init__(self, url: str, database: str | None, limits: Limits) -> None:
        self._doubt = _Doubt()
        self._probing = asyncio.Lock()

        async def configure(connection: AsyncLimitedConnection) -> None:
            connection.most_seconds = limits.seconds("PostgreSQL") + _GRACE_SECONDS
            await connection.execute(_SET_TIMEOUT, [_milliseconds(limits)])

        def doubt(_: AsyncConnectionPool[Any]) -> None:
            self._doubt.is_open = True

        self._url = _conninfo(url, database)
        super().__init__(
            self._url,
            connection_class=AsyncLimitedConnection,
            configure=configure,
            reconnect_failed=doubt,
            **_options(limits),
        )

    @property
    def url(self) -> str:
        """How the database is reached, password included."""
        return self._url

    async def probe(self) -> None:
        """Connect by hand, unless it is known by now that the server is there.

        Raises ``psycopg.OperationalError`` where it is not.
        """
        asked = time.monotonic()
        async with self._probing:
            if not self._doubt.is_open:
                return
            self._doubt.raise_since(asked)
            self._doubt.begin()
            try:
                connect = psycopg.AsyncConnection.connect
                await (await connect(self._url, connect_timeout=TIMEOUT_SECONDS)).close()
            except psycopg.Error as error:
                self._doubt.end(error)
                raise
            self._doubt.end()

    async def getconn(self, timeout: float | None = None) -> AsyncLimitedConnection:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if self._doubt.is_open and not self.get_stats()["pool_available"]:
                await self.probe()
            try:
                connection = await super().getconn(deadline - time.monotonic())
            except PoolTimeout:
                await self.probe()
                raise
            try:
                if await is_there_async(connection):
                    return connection
            except BaseException:  # cancelled: it is the pool's again
                await self.putconn(connection)
                raise
            await self.putconn(connection)

    async def putconn(self, conn: AsyncLimitedConnection) -> None:
        self._doubt.is_open |= conn.closed
        await super().putconn(conn)


def _conninfo(url: str, database: str | None) -> str:
    return make_conninfo(url, **({"dbname": database} if database else {}))


def _options(limits: Limits) -> dict[str, Any]:
    return {
        "kwargs": {"autocommit": True, "connect_timeout": TIMEOUT_SECONDS},
        "min_size": 1,
        "max_size": limits.connections,
        "timeout": limits.wait_seconds,
        # What is tried again in the background is tried while somebody may still wait for it.
        "reconnect_timeout": limits.wait_seconds / 2,
        "open": False,
    }


def _milliseconds(limits: Limits) -> str:
    return str(round(1000 * limits.seconds("PostgreSQL")))


def _is_there(connection: LimitedConnection) -> bool:
    """Tell whether the server has kept a connection; close it where not."""
    try:
        if _has_news(connection.pgconn):
            connection.execute("")
    except psycopg.Error:
        connection.close()
    return not connection.closed


async def is_there_async(connection: AsyncLimitedConnection) -> bool:
    """Tell whether the server has kept a connection; close it where not."""
    try:
        if _has_news(connection.pgconn):
            await connection.execute("")
    except psycopg.Error:
        await connection.close()
    return not connection.closed


def _has_news(pgconn: PGconn) -> bool:
    """Tell whether there is anything to read: as a rule, that the server has gone."""
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def _close_unanswered(pgconn: PGconn) -> None:
    # Whatever an error of the server's ends, the server has answered. Where it has not, nobody can
    # use the connection any more: the answer may come yet.
    if pgconn.transaction_status == TransactionStatus.ACTIVE:
        pgconn.finish()
