"""Direct connections to the nodes of a cluster, for an event loop: a few, opened on demand.

A pool would keep trying to connect to an unavailable node. Here only the task that needs the node
connects, and it gets the error soon.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

from psycopg.pq import TransactionStatus

from helpers.stores.postgres_pools import AsyncLimitedConnection, is_alive_async

# Connecting takes client and server some milliseconds of CPU time.
_MAX_CONNECTIONS = 4


class NodeConnections:
    """Idle connections by conninfo. Call ``aclose()`` at the end."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[AsyncLimitedConnection]] = defaultdict(list)
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_MAX_CONNECTIONS)
        )

    @contextlib.asynccontextmanager
    async def connection(
        self, conninfo: str, seconds: float
    ) -> AsyncIterator[AsyncLimitedConnection]:
        """Yield a connection to a node that may be unresponsive, at most four at a time.

        Connecting and each query may take ``seconds``. Raises ``psycopg.OperationalError`` or
        ``TimeoutError`` if they take longer.
        """
        async with self._turns[conninfo], self.connection_now(conninfo, seconds) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def connection_now(
        self, conninfo: str, seconds: float
    ) -> AsyncIterator[AsyncLimitedConnection]:
        """Yield a connection without waiting for tasks that already wait for this node."""
        connection = await self._open(conninfo, seconds)
        try:
            yield connection
        finally:
            # A result may still arrive on a connection that is not idle.
            is_idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
            if is_idle and len(self._idle[conninfo]) < _MAX_CONNECTIONS:
                self._idle[conninfo].append(connection)
            else:
                await connection.close()

    async def aclose(self) -> None:
        """Close all idle connections."""
        while self._idle:
            _, connections = self._idle.popitem()
            for connection in connections:
                await connection.close()

    async def _open(self, conninfo: str, seconds: float) -> AsyncLimitedConnection:
        idle = self._idle[conninfo]
        while idle:
            connection = idle.pop()
            connection.most_seconds = seconds
            if await is_alive_async(connection):
                return connection
        async with asyncio.timeout(seconds):
            connection = await AsyncLimitedConnection.connect(conninfo, autocommit=True)
        connection.most_seconds = seconds
        return connection
