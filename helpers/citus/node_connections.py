"""Connections to the nodes of a cluster themselves, for an event loop: few, made when needed.

A pool would go on trying to reach a node that is away. Here nobody does but who asks for it, and he
is told soon.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

from psycopg.pq import TransactionStatus

from helpers.stores.postgres_pools import AsyncLimitedConnection, is_alive_async

# To make one costs both sides some milliseconds of work: on a small machine, few at a time.
_CONNECTIONS = 4


class NodeConnections:
    """Connections by where they lead. Use ``aclose()`` at the end."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[AsyncLimitedConnection]] = defaultdict(list)
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_CONNECTIONS)
        )

    @contextlib.asynccontextmanager
    async def lend(self, conninfo: str, seconds: float) -> AsyncIterator[AsyncLimitedConnection]:
        """Lend a connection to a node that may be silent, when it is one's turn.

        To connect may take ``seconds``, and each answer. Raises ``psycopg.OperationalError`` or
        ``TimeoutError`` where it takes longer.
        """
        async with self._turns[conninfo], self.lend_at_once(conninfo, seconds) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def lend_at_once(
        self, conninfo: str, seconds: float
    ) -> AsyncIterator[AsyncLimitedConnection]:
        """Lend one without waiting for others, who may be waiting for the node."""
        connection = await self._open(conninfo, seconds)
        try:
            yield connection
        finally:
            # Not one whose answer may come yet.
            is_idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
            if is_idle and len(self._idle[conninfo]) < _CONNECTIONS:
                self._idle[conninfo].append(connection)
            else:
                await connection.close()

    async def aclose(self) -> None:
        """Close all connections that are not lent."""
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
