"""The relay behind a ``TcpProxy``: a process that passes bytes on, later, or not at all.

``link.py`` starts this file by its path, as a process of its own, so that the program under
measurement does not share an interpreter with it. It uses the standard library alone and nothing
of the project. Arguments: ``tcp HOST PORT`` or ``unix PATH``, where the store answers.

It writes ``{"port": …}`` to its output, then one line for each line of JSON that it reads, with
the same ``number``::

    {"do": "delay", "seconds": 0.0025}   deliver later by so much, in each direction
    {"do": "cut"}                        close every connection, and every new one at once
    {"do": "freeze"}                     take what is sent, deliver nothing, keep connections
    {"do": "restore"}                    end a cut or a freeze; what was held is delivered
    {"do": "state"}                      count connections and held bytes

It ends when its input closes: whoever started it closed the link, or died.
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

#: Bytes that one end of a connection holds at most before its sender is made to wait.
HELD_BYTES = 4 * 1024 * 1024

#: Connections at the same time: each takes two descriptors, and select() knows 1024.
CONNECTIONS = 480

_PARENT_SECONDS = 1.0
_DESCRIPTORS = 1024


class Relay:
    """What all connections share: where the store is, the delay, and whether bytes pass."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: list[str]) -> None:
        self.loop = loop
        self.target = target
        self.delay = 0.0
        self.mode = "open"
        self.ends: set[End] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, client: End) -> None:
        """Connect the store to a client that has just come."""
        if self.mode == "cut" or self._connections() > CONNECTIONS:
            client.abort()
            return
        task = self.loop.create_task(self._reach_store(client))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _connections(self) -> int:
        return sum(1 for end in self.ends if end.is_client)

    async def _reach_store(self, client: End) -> None:
        kind, *where = self.target
        try:
            if kind == "unix":
                await self.loop.create_unix_connection(lambda: End(self, client), where[0])
            else:
                await self.loop.create_connection(
                    lambda: End(self, client), where[0], int(where[1])
                )
        except OSError:
            client.abort()

    def obey(self, order: dict[str, Any]) -> dict[str, int]:
        """Carry out one order and return the answer to it."""
        what = order["do"]
        if what == "delay":
            self.delay = float(order["seconds"])
        elif what == "state":
            return {
                "connections": self._connections(),
                "held_bytes": sum(end.held_bytes for end in self.ends),
            }
        else:
            self.mode = {"cut": "cut", "freeze": "frozen", "restore": "open"}[what]
            for end in list(self.ends):
                if what == "cut":
                    end.abort()
                else:
                    end.release()
        return {}


class End(asyncio.Protocol):
    """One end of a relayed connection: it holds what arrives here until the other end gets it.

    Every piece has the time at which it is due, counted from its own arrival, so that none waits
    for those before it longer than they wait themselves.
    """

    def __init__(self, relay: Relay, other: End | None = None) -> None:
        self.relay = relay
        self.other = other
        self.is_client = other is None
        self.held_bytes = 0
        self._transport: asyncio.Transport | None = None
        # A piece of None is the end of what is sent; one of False, the loss of the connection.
        self._held: deque[tuple[float, bytes | bool | None]] = deque()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.blocked = False
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport  # asyncio has set TCP_NODELAY on it
        self.relay.ends.add(self)
        if self.other is None:
            self.relay.accept(self)
        elif self.relay.mode == "cut" or self.other not in self.relay.ends:
            self.abort()
        else:
            self.other.other = self
            self.other.release()

    def data_received(self, data: bytes) -> None:
        self._hold(data)

    def eof_received(self) -> bool:
        self._hold(None)
        return True  # the other direction stays open

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.relay.ends.discard(self)
        if self.other is not None:
            self._hold(False)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.blocked = True

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.blocked = False
            self.other.release()

    def abort(self) -> None:
        """Close this end at once; what was held for the other is thrown away."""
        self._held.clear()
        self.held_bytes = 0
        if self._transport is not None:
            self._transport.abort()

    def release(self) -> None:
        """Deliver what is due, and come back when the next piece is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held and self.other is not None and self.relay.mode == "open":
            due, piece = self._held[0]
            if self.blocked and piece is not False:
                break
            if due > self.relay.loop.time():
                self._timer = self.relay.loop.call_at(due, self.release)
                break
            self._held.popleft()
            self._deliver(piece, self.other)
        if self._transport is not None and self.held_bytes <= HELD_BYTES // 2:
            self._transport.resume_reading()

    def _hold(self, piece: bytes | bool | None) -> None:
        # Never before what came earlier, also when the delay was made shorter meanwhile.
        self._due = max(self._due, self.relay.loop.time() + self.relay.delay)
        self._held.append((self._due, piece))
        if isinstance(piece, bytes):
            self.held_bytes += len(piece)
        if self.held_bytes > HELD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self.release()

    def _deliver(self, piece: bytes | bool | None, other: End) -> None:
        if isinstance(piece, bytes):
            self.held_bytes -= len(piece)
        if other._transport is None or other._transport.is_closing():
            return
        if isinstance(piece, bytes):
            other._transport.write(piece)
        elif piece is None:
            self._done = True
            if other._done and self._transport is not None:
                other._transport.close()
                self._transport.close()
            else:
                other._transport.write_eof()
        else:
            # What was written to it before is on its way; close() lets it arrive.
            other._transport.close()


def main() -> None:
    """Relay until the input closes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    # select() waits to the microsecond; what asyncio takes by itself on Linux rounds up to a
    # millisecond, as much as the shortest delay that we want to show.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    relay = Relay(loop, sys.argv[1:])
    server = loop.run_until_complete(
        loop.create_server(lambda: End(relay), "127.0.0.1", 0, backlog=CONNECTIONS)
    )
    _answer({"port": server.sockets[0].getsockname()[1]})
    pending = b""

    def on_input() -> None:
        nonlocal pending
        text = os.read(0, 65536)
        if not text:
            loop.stop()
        *lines, pending = (pending + text).split(b"\n")
        for line in lines:
            order = json.loads(line)
            _answer({"number": order["number"], **relay.obey(order)})

    parent = os.getppid()

    def watch_parent() -> None:
        # Where it forked, its children hold our input open after its death.
        if os.getppid() != parent:
            loop.stop()
        loop.call_later(_PARENT_SECONDS, watch_parent)

    loop.add_reader(0, on_input)
    watch_parent()
    loop.run_forever()
    # The system closes what is open; taking leave of each connection could hang.
    os._exit(0)


def _answer(answer: dict[str, int]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
