"""The process behind a ``TcpProxy``: it forwards bytes with a delay, or holds them back.

``tcp_proxy.py`` runs this file as a separate process, so that the program under measurement does
not share an interpreter with it. It imports only the standard library. Arguments: ``tcp HOST PORT``
or ``unix PATH``, the address of the store.

It writes ``{"port": …}`` to standard output, then one line of JSON for each command that it reads
from standard input, with the same ``number``::

    {"do": "delay", "seconds": 0.0025}   delay bytes by this time, in each direction
    {"do": "cut"}                        close every connection, and every new one at once
    {"do": "freeze"}                     accept data, deliver nothing, keep connections open
    {"do": "restore"}                    end a cut or a freeze; deliver what was held back
    {"do": "state"}                      count connections and buffered bytes

It exits when its standard input is closed: the proxy was closed, or its process died.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import selectors
import sys
from collections import deque
from typing import Any

#: How many bytes one side of a connection buffers before its sender has to wait.
MAX_BUFFERED_BYTES = 4 * 1024 * 1024

#: Concurrent connections: each takes two descriptors, and select() is limited to 1024.
CONNECTIONS = 480

_PARENT_SECONDS = 1.0
_DESCRIPTORS = 1024


class Forwarder:
    """The state that all connections share: the store's address, the delay and the mode."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: list[str]) -> None:
        self.loop = loop
        self.target = target
        self.delay = 0.0
        self.mode = "open"
        self.sides: set[Side] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, client: Side) -> None:
        """Connect a new client to the store."""
        if self.mode == "cut" or self._connections() > CONNECTIONS:
            client.abort()
            return
        task = self.loop.create_task(self._reach_store(client))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _connections(self) -> int:
        return sum(1 for side in self.sides if side.is_client)

    async def _reach_store(self, client: Side) -> None:
        kind, *where = self.target
        try:
            if kind == "unix":
                await self.loop.create_unix_connection(lambda: Side(self, client), where[0])
            else:
                await self.loop.create_connection(
                    lambda: Side(self, client), where[0], int(where[1])
                )
        except OSError:
            client.abort()

    def execute(self, command: dict[str, Any]) -> dict[str, int]:
        """Execute one command and return its result."""
        what = command["do"]
        if what == "delay":
            self.delay = float(command["seconds"])
        elif what == "state":
            return {
                "connections": self._connections(),
                "buffered_bytes": sum(side.buffered_bytes for side in self.sides),
            }
        else:
            self.mode = {"cut": "cut", "freeze": "frozen", "restore": "open"}[what]
            for side in list(self.sides):
                if what == "cut":
                    side.abort()
                else:
                    side.release()
        return {}


class Side(asyncio.Protocol):
    """One side of a forwarded connection: it buffers what it receives for the other side.

    Each chunk is due at its own arrival plus the delay, so that delays do not add up.
    """

    def __init__(self, forwarder: Forwarder, other: Side | None = None) -> None:
        self.forwarder = forwarder
        self.other = other
        self.is_client = other is None
        self.buffered_bytes = 0
        self._transport: asyncio.Transport | None = None
        # A chunk of None means end of file, False that the connection was lost.
        self._buffered: deque[tuple[float, bytes | bool | None]] = deque()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.blocked = False
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport  # asyncio has set TCP_NODELAY on it
        self.forwarder.sides.add(self)
        if self.other is None:
            self.forwarder.accept(self)
        elif self.forwarder.mode == "cut" or self.other not in self.forwarder.sides:
            self.abort()
        else:
            self.other.other = self
            self.other.release()

    def data_received(self, data: bytes) -> None:
        self._buffer(data)

    def eof_received(self) -> bool:
        self._buffer(None)
        return True  # the other direction stays open

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.forwarder.sides.discard(self)
        if self.other is not None:
            self._buffer(False)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.blocked = True

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.blocked = False
            self.other.release()

    def abort(self) -> None:
        """Close this side at once, and discard what it has buffered."""
        self._buffered.clear()
        self.buffered_bytes = 0
        if self._transport is not None:
            self._transport.abort()

    def release(self) -> None:
        """Deliver the chunks that are due, and set a timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._buffered and self.other is not None and self.forwarder.mode == "open":
            due, chunk = self._buffered[0]
            if self.blocked and chunk is not False:
                break
            if due > self.forwarder.loop.time():
                self._timer = self.forwarder.loop.call_at(due, self.release)
                break
            self._buffered.popleft()
            self._deliver(chunk, self.other)
        if self._transport is not None and self.buffered_bytes <= MAX_BUFFERED_BYTES // 2:
            self._transport.resume_reading()

    def _buffer(self, chunk: bytes | bool | None) -> None:
        # Keep the order of chunks even if the delay was shortened meanwhile.
        self._due = max(self._due, self.forwarder.loop.time() + self.forwarder.delay)
        self._buffered.append((self._due, chunk))
        if isinstance(chunk, bytes):
            self.buffered_bytes += len(chunk)
        if self.buffered_bytes > MAX_BUFFERED_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self.release()

    def _deliver(self, chunk: bytes | bool | None, other: Side) -> None:
        if isinstance(chunk, bytes):
            self.buffered_bytes -= len(chunk)
        if other._transport is None or other._transport.is_closing():
            return
        if isinstance(chunk, bytes):
            other._transport.write(chunk)
        elif chunk is None:
            self._done = True
            if other._done and self._transport is not None:
                other._transport.close()
                self._transport.close()
            else:
                other._transport.write_eof()
        else:
            # close() still delivers what was written before.
            other._transport.close()


async def main() -> None:
    """Forward until standard input is closed."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    forwarder = Forwarder(loop, sys.argv[1:])
    server = await loop.create_server(lambda: Side(forwarder), "127.0.0.1", 0, backlog=CONNECTIONS)
    _reply({"port": server.sockets[0].getsockname()[1]})
    parent = os.getppid()

    def check_parent() -> None:
        # If the parent has forked, its children keep our standard input open after its death.
        if os.getppid() != parent:
            os._exit(0)
        loop.call_later(_PARENT_SECONDS, check_parent)

    check_parent()
    async for line in commands:
        command = json.loads(line)
        _reply({"number": command["number"], **forwarder.execute(command)})
    # The operating system closes all connections; closing each of them here could hang.
    os._exit(0)


def _reply(result: dict[str, int]) -> None:
    os.write(1, json.dumps(result).encode() + b"\n")


def _allow_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


if __name__ == "__main__":
    _allow_descriptors()
    # select() has a resolution of microseconds; asyncio's default on Linux, epoll, rounds up to a
    # millisecond, which is as long as the shortest delay in the lessons.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        runner.run(main())
