"""Small servers that the tests reach through a proxy."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def serving(handle: Callable[[socket.socket], None], path: Path | None = None) -> Iterator[str]:
    """Serve each connection with ``handle`` in a thread; yield the address as a Redis URL.

    With ``path``, listen on that Unix socket instead.
    """
    listener = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
    listener.bind(("127.0.0.1", 0) if path is None else str(path))
    listener.listen(512)
    threads = []
    stopping = False

    def serve(connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE_SECONDS)
        with connection, contextlib.suppress(ConnectionError):
            handle(connection)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if stopping:
                connection.close()
                return
            threads.append(threading.Thread(target=serve, args=[connection]))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield "redis://127.0.0.1:1" if path else f"redis://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopping = True
        with socket.socket(listener.family) as last:
            last.connect(listener.getsockname())
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join()


def echo(connection: socket.socket) -> None:
    """Send all received data back, until the connection is closed."""
    while data := connection.recv(65536):
        connection.sendall(data)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].split("/")[0].split("?")[0])


def connect(url: str) -> socket.socket:
    """Connect to the proxy in ``url``."""
    connection = socket.create_connection(("127.0.0.1", port_of(url)))
    connection.settimeout(_PATIENCE_SECONDS)
    return connection


def receive(connection: socket.socket, count: int) -> bytes:
    """Read ``count`` bytes, or fewer if the connection is closed before."""
    parts = b""
    while len(parts) < count and (part := connection.recv(count - len(parts))):
        parts += part
    return parts
