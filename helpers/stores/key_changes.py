"""Which keys of Redis change: one connection that the server tells, whoever changes them and how.

This is Redis's client-side caching in its broadcast mode (``CLIENT TRACKING ON BCAST``, RESP3). The
server puts the names of changed keys into this connection's stream: of those written, deleted,
expired and evicted, in scripts and transactions too, and in all logical databases, which it does
not tell apart; of all, where a database is emptied. It does so before it acknowledges the change
to whoever made it. So what was acknowledged before a PING was sent is named before its PONG: a
``check`` costs the smallest round trip there is, and nothing that was changed before it is missed.

A server with I/O threads (both engines have one thread by default) may acknowledge a change a turn
of its loop before it names it. There, a check asks a second time: by then that turn is over.

Of ``SWAPDB``, which exchanges databases, the server does not tell.

The driver's own connection reads only while somebody waits, and sets a timer for each step: a PING
over it took 99 µs, a check over this one 41 µs. This one reads all the time, so that what the
server tells while nobody asks does not pile up there; and whoever is cancelled while he waits for
an answer leaves the connection as it is.
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

#: Takes an answer of the server, or the error in its place.
Answered = Callable[[Any], None]

_NAME = "key-changes"
_PING = hiredis.pack_command(("PING",))
_INCOMPLETE: Final = object()
_MOST_NAMES = 100_000


class KeyChanges(asyncio.Protocol):
    """The names of keys with these prefixes that change, from ``open`` until it is closed or lost.

    It goes to the server and the database of ``client``; no prefix may begin with another. What is
    asked is answered in order. An answer that takes longer than ``answer_seconds`` ends the
    connection. With it ends the knowledge of what changed: everything must be read anew over
    another one.
    """

    def __init__(
        self, client: aioredis.Redis, prefixes: Sequence[str], *, answer_seconds: float
    ) -> None:
        self._pool = client.connection_pool
        self._prefixes = prefixes
        self._seconds = answer_seconds
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answers = hiredis.Reader(replyError=ResponseError, notEnoughData=_INCOMPLETE)
        self._asked: deque[tuple[Answered, float]] = deque()  # who takes the answer, until when
        self._watch: asyncio.TimerHandle | None = None
        self._names: set[bytes] = set()
        self._any_key = False
        self._asks_twice = False
        self._closed = self._loop.create_future()
        self.is_open = False

    async def open(self) -> None:
        """Connect, and be told of what changes from then on. Once only.

        Raises ``redis.RedisError``; then it is closed.
        """
        where = self._pool.connection_kwargs
        host = where["host"]
        try:
            async with asyncio.timeout(where.get("socket_connect_timeout")):
                await self._loop.create_connection(
                    lambda: self, host, where["port"], ssl=_tls(self._pool)
                )
        except TimeoutError:
            raise LateError(f"Timeout connecting to {host}.") from None
        except OSError as error:
            text = str(error)
            if isinstance(error, ConnectionError) and error.errno:
                text = os.strerror(error.errno)  # asyncio has put a text of its own in its place
            raise LostError(f"Error connecting to {host}. {text}.") from error
        try:
            await self._greet(where)
        except BaseException:
            await self.aclose()
            raise

    def ask(self, answered: Answered) -> None:
        """Send a PING; ``answered`` is called with its answer, or with an error in its place.

        Then all that was changed and acknowledged before is among what ``take`` returns.
        """
        if not self._asks_twice:
            self._send(_PING, answered)
            return

        def again(answer: Any) -> None:
            if isinstance(answer, Exception):
                answered(answer)
            else:
                self._send(_PING, answered)

        self._send(_PING, again)

    async def check(self) -> None:
        """Return when all is known that was changed and acknowledged before this call.

        Raises ``redis.RedisError``.
        """
        asked = self._loop.create_future()
        self.ask(lambda answer: _settle(asked, answer))
        await asked

    def run(self, *command: str | int | bytes) -> asyncio.Future[Any]:
        """Send a command at once; the answer is awaited, and its texts are bytes.

        Awaiting it raises ``redis.RedisError``.
        """
        asked = self._loop.create_future()
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # declared for one part
        self._send(packed, lambda answer: _settle(asked, answer))
        return asked

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was named since the last ``take``."""
        return not (self._names or self._any_key)

    def take(self) -> set[bytes] | None:
        """Return the keys that were named since the last time; ``None``: it may be any of them."""
        names, self._names = self._names, set()
        any_key, self._any_key = self._any_key, False
        return None if any_key else names

    async def aclose(self) -> None:
        """Close the connection. Whoever waits for an answer gets ``redis.ConnectionError``."""
        self._end(LostError("Connection closed by us."))
        if self._transport is not None:
            await asyncio.shield(self._closed)  # which others may await too

    def __repr__(self) -> str:
        return f"<KeyChanges, {'open' if self.is_open else 'closed'}>"

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._answers.feed(data)
        try:
            while self.is_open and (answer := self._answers.gets()) is not _INCOMPLETE:
                if isinstance(answer, hiredis.PushNotification):
                    self._note(answer)
                elif self._asked:
                    answered, _ = self._asked.popleft()
                    answered(answer)
                else:
                    self._end(LostError("Connection closed: an answer that nobody asked for."))
        except hiredis.ProtocolError:
            self._end(LostError("Connection closed: an answer that nobody can read."))

    def connection_lost(self, _: Exception | None) -> None:
        self._end(LostError("Connection closed by server."))
        self._closed.set_result(None)

    async def _greet(self, where: dict[str, Any]) -> None:
        """Log in, choose the database, and have the server tell."""
        login: list[str] = []
        if where.get("password"):
            login = ["AUTH", where.get("username") or "default", where["password"]]
        tracked = [part for prefix in self._prefixes for part in ("PREFIX", prefix)]
        *_, threads = await asyncio.gather(
            self.run("HELLO", 3, *login, "SETNAME", _NAME),
            self.run("SELECT", where.get("db") or 0),
            self.run("CLIENT", "TRACKING", "ON", "BCAST", *tracked),
            self._threads(),
        )
        self._asks_twice = threads != b"1"

    async def _threads(self) -> bytes | None:
        """Return how many threads the server may have; ``None`` where it does not tell."""
        try:
            found = await self.run("CONFIG", "GET", "io-threads")
        except ResponseError:  # not everybody may ask
            return None
        return cast("bytes | None", found.get(b"io-threads"))

    def _send(self, command: bytes, answered: Answered) -> None:
        if self._transport is None or not self.is_open:
            answered(LostError("Connection closed before it was asked."))
            return
        self._transport.write(command)
        self._asked.append((answered, self._loop.time() + self._seconds))
        if self._watch is None:
            self._watch = self._loop.call_later(self._seconds, self._look_at_the_clock)

    def _note(self, push: Sequence[Any]) -> None:
        """Keep what the server told: the names of keys, or none where it may be any."""
        if push[0] != b"invalidate":
            return
        if push[1] is not None:
            self._names.update(push[1])
        if push[1] is None or len(self._names) > _MOST_NAMES:
            # Nobody may take the names for a long time: then better all than more and more.
            self._names.clear()
            self._any_key = True

    def _look_at_the_clock(self) -> None:
        """End the connection where an answer is late; else look again when the next one would be.

        A timer for each answer would do too, but it made a check a sixth slower.
        """
        self._watch = None
        if self._asked:
            left = self._asked[0][1] - self._loop.time()
            if left > 0:
                self._watch = self._loop.call_later(left, self._look_at_the_clock)
            else:
                self._end(LateError(f"Timeout: no answer within {self._seconds:g} seconds."))

    def _end(self, error: RedisError) -> None:
        """Close the connection, and give ``error`` to all who wait for an answer."""
        if self._transport is None or not self.is_open:
            return
        self.is_open = False
        self._transport.abort()
        if self._watch is not None:
            self._watch.cancel()
        asked, self._asked = self._asked, deque()
        for answered, _ in asked:
            answered(error)


def _settle(asked: asyncio.Future[Any], answer: Any) -> None:
    if asked.done():
        return  # whoever asked was cancelled
    if isinstance(answer, Exception):
        asked.set_exception(answer)
    else:
        asked.set_result(answer)


def _tls(pool: aioredis.ConnectionPool) -> ssl.SSLContext | None:
    """Return how the driver encrypts its connections to this server, if it does."""
    connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection.ssl_context.get() if isinstance(connection, aioredis.SSLConnection) else None
