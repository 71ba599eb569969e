"""Receive the names of keys that change in Redis, over one dedicated connection.

This is Redis's client-side caching in broadcast mode (``CLIENT TRACKING ON BCAST``, RESP3). The
server pushes the names of keys that are written, deleted, expired or evicted into the connection's
stream, also from scripts and transactions, from any client and from all logical databases, which it
does not tell apart; if a database is flushed, it reports all keys. It does so before it
acknowledges the change to its client. So the names of all changes acknowledged before a PING was
sent arrive before the PONG: a ``check`` costs the smallest round trip there is, and misses nothing.

A server with I/O threads (both engines have one thread by default) may acknowledge a change one
event loop iteration before it pushes the name. There, a check sends a second PING: by then that
iteration is over.

The server does not report ``SWAPDB``, which exchanges two databases.

The driver's own connection reads only while a caller waits, and sets a timer for each step: a PING
over it took 99 µs, a check over this one 41 µs. This one reads all the time, so that pushed names
do not pile up in the server's buffer, and a caller that is cancelled leaves the connection intact.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis import asyncio as aioredis
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as LateError

#: Receives a reply of the server, or the error in its place.
OnReply = Callable[[Any], None]

_NAME = "key-changes"
_PING = hiredis.pack_command(("PING",))
_INCOMPLETE: Final = object()
_MAX_NAMES = 100_000


class KeyChanges(asyncio.Protocol):
    """Collects the names of changed keys with these prefixes, from ``open`` until it is closed.

    It connects to the server and database of ``client``; no prefix may start with another one.
    Replies arrive in the order of the commands. A reply that takes longer than ``answer_seconds``
    closes the connection. After that changes are unknown: everything must be read again over a new
    connection.
    """

    def __init__(
        self, client: aioredis.Redis, prefixes: Sequence[str], *, answer_seconds: float
    ) -> None:
        self._pool = client.connection_pool
        self._prefixes = prefixes
        self._seconds = answer_seconds
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._replies = hiredis.Reader(replyError=ResponseError, notEnoughData=_INCOMPLETE)
        self._pending: deque[tuple[OnReply, float]] = deque()  # callbacks and their deadlines
        self._timer: asyncio.TimerHandle | None = None
        self._names: set[bytes] = set()
        self._any_key = False
        self._pings_twice = False
        self._closed = self._loop.create_future()
        self.is_open = False

    async def open(self) -> None:
        """Connect and start to receive names. May be called once.

        Raises ``redis.RedisError``; then the connection is closed.
        """
        options = self._pool.connection_kwargs
        host = options["host"]
        try:
            async with asyncio.timeout(options.get("socket_connect_timeout")):
                await self._loop.create_connection(
                    lambda: self, host, options["port"], ssl=_tls(self._pool)
                )
        except TimeoutError:
            raise LateError(f"Timeout connecting to {host}.") from None
        except OSError as error:
            reason = str(error)
            if isinstance(error, ConnectionError) and error.errno:
                reason = os.strerror(error.errno)  # which asyncio replaced with its own text
            raise LostError(f"Error connecting to {host}. {reason}.") from error
        try:
            await self._log_in(options)
        except BaseException:
            await self.aclose()
            raise

    def ping(self, on_reply: OnReply) -> None:
        """Send a PING and call ``on_reply`` with the reply, or with an error in its place.

        By then ``take`` returns all changes that were acknowledged before this call.
        """
        if not self._pings_twice:
            self._send(_PING, on_reply)
            return

        def ping_again(reply: Any) -> None:
            if isinstance(reply, Exception):
                on_reply(reply)
            else:
                self._send(_PING, on_reply)

        self._send(_PING, ping_again)

    async def check(self) -> None:
        """Return when all changes that were acknowledged before this call are known.

        Raises ``redis.RedisError``.
        """
        result = self._loop.create_future()
        self.ping(lambda reply: _settle(result, reply))
        await result

    def run(self, *command: str | int | bytes) -> asyncio.Future[Any]:
        """Send a command at once, and return a future of its reply, in which strings are bytes.

        Awaiting it raises ``redis.RedisError``.
        """
        result = self._loop.create_future()
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # declared for one part
        self._send(packed, lambda reply: _settle(result, reply))
        return result

    @property
    def is_quiet(self) -> bool:
        """Whether no change was received since the last ``take``."""
        return not (self._names or self._any_key)

    def take(self) -> set[bytes] | None:
        """Return the keys that changed since the last call, or ``None`` if any may have."""
        names, self._names = self._names, set()
        any_key, self._any_key = self._any_key, False
        return None if any_key else names

    async def aclose(self) -> None:
        """Close the connection. Callers that wait for a reply get ``redis.ConnectionError``."""
        self._end(LostError("Connection closed by us."))
        if self._transport is not None:
            await asyncio.shield(self._closed)  # several callers may await it

    def __repr__(self) -> str:
        return f"<KeyChanges, {'open' if self.is_open else 'closed'}>"

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        try:
            while self.is_open and (reply := self._replies.gets()) is not _INCOMPLETE:
                if isinstance(reply, hiredis.PushNotification):
                    self._collect(reply)
                elif self._pending:
                    on_reply, _ = self._pending.popleft()
                    on_reply(reply)
                else:
                    self._end(LostError("Connection closed: an unexpected reply."))
        except hiredis.ProtocolError:
            self._end(LostError("Connection closed: a malformed reply."))

    def connection_lost(self, _: Exception | None) -> None:
        self._end(LostError("Connection closed by server."))
        self._closed.set_result(None)

    async def _log_in(self, options: dict[str, Any]) -> None:
        """Authenticate, select the database and turn tracking on."""
        login: list[str] = []
        if options.get("password"):
            login = ["AUTH", options.get("username") or "default", options["password"]]
        tracked = [part for prefix in self._prefixes for part in ("PREFIX", prefix)]
        *_, threads = await asyncio.gather(
            self.run("HELLO", 3, *login, "SETNAME", _NAME),
            self.run("SELECT", options.get("db") or 0),
            self.run("CLIENT", "TRACKING", "ON", "BCAST", *tracked),
            self._io_threads(),
        )
        self._pings_twice = threads != b"1"

    async def _io_threads(self) -> bytes | None:
        """Return the number of I/O threads of the server; ``None`` if it is unknown."""
        try:
            found = await self.run("CONFIG", "GET", "io-threads")
        except ResponseError:  # this user has no permission
            return None
        return cast("bytes | None", found.get(b"io-threads"))

    def _send(self, command: bytes, on_reply: OnReply) -> None:
        if self._transport is None or not self.is_open:
            on_reply(LostError("Connection closed before the command was sent."))
            return
        self._transport.write(command)
        self._pending.append((on_reply, self._loop.time() + self._seconds))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._check_deadline)

    def _collect(self, push: Sequence[Any]) -> None:
        """Collect the keys of an invalidation message, or that any key may have changed."""
        if push[0] != b"invalidate":
            return
        if push[1] is not None:
            self._names.update(push[1])
        if push[1] is None or len(self._names) > _MAX_NAMES:
            # If ``take`` is not called for long, this bounds the memory.
            self._names.clear()
            self._any_key = True

    def _check_deadline(self) -> None:
        """Close the connection if a reply is late; else set the timer for the next deadline.

        A timer for each reply would work too, but made a check a sixth slower.
        """
        self._timer = None
        if self._pending:
            left = self._pending[0][1] - self._loop.time()
            if left > 0:
                self._timer = self._loop.call_later(left, self._check_deadline)
            else:
                self._end(LateError(f"Timeout: no answer within {self._seconds:g} seconds."))

    def _end(self, error: RedisError) -> None:
        """Close the connection, and pass ``error`` to all callers that wait for a reply."""
        if self._transport is None or not self.is_open:
            return
        self.is_open = False
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        pending, self._pending = self._pending, deque()
        for on_reply, _ in pending:
            on_reply(error)


def _settle(result: asyncio.Future[Any], reply: Any) -> None:
    if result.done():
        return  # the caller was cancelled
    if isinstance(reply, Exception):
        result.set_exception(reply)
    else:
        result.set_result(reply)


def _tls(pool: aioredis.ConnectionPool) -> ssl.SSLContext | None:
    """Return the TLS context of the driver's connections to this server, if they use TLS."""
    connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection.ssl_context.get() if isinstance(connection, aioredis.SSLConnection) else None
