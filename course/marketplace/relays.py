"""Relays between a client and a store that count round trips, hold commands back, cut and freeze.

Unlike ``helpers.proxy`` a relay reads the store's protocol, so that it sees what a client sends
without the client's help. A round trip is counted as in ``helpers.traced``; logging in is none. It
runs in threads of this process, so it is not for measuring time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Self

from helpers.errors import StoreName
from helpers.proxy.upstream import find_target

#: Called with the names of the commands of a round trip, before they are delivered.
Before = Callable[[list[str]], None]

_CHUNK = 2**20
#: Every open relay: a client can use any of them.
open_relays: weakref.WeakSet[Relay] = weakref.WeakSet()


class Relay:
    """A relay to the store at ``address``; ``url`` is the same address, led through the relay.

    ``trips`` counts the round trips of all its clients. ``before`` is called before each of them
    is delivered, and holds it back until it returns. Clients connect to ``listener``, which is
    closed with the relay.
    """

    def __init__(self, address: str, listener: socket.socket, before: Before | None = None) -> None:
        self._target = find_target(address)
        self._listener = listener
        self._wakes, self._waker = socket.socketpair()
        self.store: StoreName = self._target.store
        self.port: int = self._listener.getsockname()[1]
        self.url = self._target.through(self.port)
        self.before = before
        self.trips = 0
        self._lock = threading.Lock()
        self._mode = "open"
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets: set[socket.socket] = set()
        open_relays.add(self)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self) -> None:
        """Close all connections, and every new one at once."""
        self._mode = "cut"
        self._flowing.set()
        self._drop()

    def freeze(self) -> None:
        """Stop delivering data, without closing connections."""
        self._mode = "frozen"
        self._flowing.clear()

    def restore(self) -> None:
        """End a cut or a freeze; deliver what was held back."""
        self._mode = "open"
        self._flowing.set()

    def close(self) -> None:
        """Close all connections, and accept no more."""
        open_relays.discard(self)
        self.cut()
        self._waker.close()
        self._accepting.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop(self) -> None:
        with self._lock:
            sockets = list(self._sockets)
        for connected in sockets:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        self._listener.setblocking(False)
        with self._listener, self._wakes:
            while self._wakes not in select.select([self._listener, self._wakes], [], [])[0]:
                try:
                    client, _ = self._listener.accept()
                except BlockingIOError:
                    continue  # it has given up
                except OSError:
                    return
                client.setblocking(True)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), self._connect() as server:
            with self._lock:
                self._sockets |= {client, server}
            if self._mode == "cut":
                return
            talk = _Conversation(self.store)
            back = threading.Thread(target=self._pump, args=(server, client, talk), daemon=True)
            back.start()
            try:
                self._pump(client, server, talk, from_client=True)
            finally:
                back.join()
                with self._lock:
                    self._sockets -= {client, server}

    def _connect(self) -> socket.socket:
        if self._target.path is None:
            return socket.create_connection((self._target.host, self._target.port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target.path)
        return server

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        talk: _Conversation,
        *,
        from_client: bool = False,
    ) -> None:
        try:
            while data := source.recv(_CHUNK):
                self._flowing.wait()
                if self._mode == "cut":
                    break
                if from_client:
                    self._count(talk.sent(data))
                else:
                    talk.received()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _count(self, trips: list[list[str]]) -> None:
        for commands in trips:
            with self._lock:
                self.trips += 1
            if self.before is not None:
                self.before(commands)


class _Conversation:
    """One connection's data, as round trips."""

    def __init__(self, store: StoreName) -> None:
        self._parse = _PARSERS[store]()
        next(self._parse)
        self._each = store == "MongoDB"
        self._waiting = False

    def sent(self, data: bytes) -> list[list[str]]:
        """Return the commands of each round trip that begins with ``data``."""
        commands = self._parse.send(data)
        if self._each:
            return [[name] for name in commands]
        if not commands or self._waiting:
            return []
        self._waiting = True
        return [commands]

    def received(self) -> None:
        """Note that the store has replied."""
        self._waiting = False


#: Takes what a client sends, and yields the names of the commands in it.
Parser = Generator[list[str], bytes, None]


def _postgres() -> Parser:
    """Parse PostgreSQL's frontend messages: yield their types, without those of logging in."""
    data, started = b"", False
    found: list[str] = []
    while True:
        data += yield found
        found = []
        while True:
            head = 1 if started else 0
            if len(data) < head + 4:
                break
            (length,) = struct.unpack_from("!i", data, head)
            if length < 4 or len(data) < head + length:
                break
            if started and data[:1] not in b"pX":
                found.append(data[:1].decode("latin-1"))
            elif not started:
                # A request for encryption, which is answered by one byte, comes before the start.
                (code,) = struct.unpack_from("!i", data, 4)
                started = code not in (80877103, 80877104)
            data = data[head + length :]
        if started and data[:1] in (b"d", b"Q", b"P", b"B"):
            found.append(data[:1].decode("latin-1"))  # a part of a large message


def _mongo() -> Parser:
    """Parse MongoDB's OP_MSG: yield the commands, without those of logging in and of watching."""
    data, skip = b"", 0
    found: list[str] = []
    while True:
        data += yield found
        found = []
        while data:
            if skip:
                gone = min(skip, len(data))
                data, skip = data[gone:], skip - gone
                continue
            if len(data) < 16:
                break
            length, _, _, code = struct.unpack_from("<iiii", data)
            if code == 2013 and len(data) < min(length, 200):
                break
            if code == 2013 and not struct.unpack_from("<I", data, 16)[0] & 2:  # acknowledged
                name = data[26 : data.find(b"\0", 26)].decode("utf-8", "replace")
                if name.lower() not in _MONGO_SETUP:
                    found.append(name)
            skip = max(length, 16)


def _redis() -> Parser:
    """Parse Redis's commands: yield their names, without those of logging in."""
    data = b""
    found: list[str] = []
    while True:
        data += yield found
        found = []
        while data.startswith(b"*"):
            parts: list[bytes] = []
            rest = data
            try:
                line, rest = rest.split(b"\r\n", 1)
                for _ in range(int(line[1:])):
                    line, rest = rest.split(b"\r\n", 1)
                    size = int(line[1:])
                    if len(rest) < size + 2:
                        raise IndexError
                    parts.append(rest[:size] if not parts else b"")
                    rest = rest[size + 2 :]
            except (ValueError, IndexError):
                break  # the rest follows
            data = rest
            name = parts[0].decode("latin-1").upper() if parts else ""
            if name not in _REDIS_SETUP:
                found.append(name)


_MONGO_SETUP = {"hello", "ismaster", "saslstart", "saslcontinue", "endsessions", "ping"}
_REDIS_SETUP = {"HELLO", "AUTH", "SELECT", "CLIENT", "PING"}
_PARSERS: dict[StoreName, Callable[[], Parser]] = {
    "PostgreSQL": _postgres,
    "MongoDB": _mongo,
    "Redis": _redis,
}
