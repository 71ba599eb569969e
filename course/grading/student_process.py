"""The process that runs a student's cells, then calls their functions when the tests ask for it.

``student.py`` starts it in the sandbox, with a socket as its only way out. It knows no test, and
nothing of what it says is believed. Arguments: the descriptor of the socket, the number of sockets
for relays, and the account to become.

Each request is a frame of ``wire``::

    {"do": "cell", "name": …, "code": …}                    run a cell
    {"do": "call", "function": …, "args": …, "kwargs": …}   call a function of the notebook
    {"do": "open", "handle": …}                             open the connections of a handle
    {"do": "close", "handle": …}                            close them
    {"do": "forget"}                                        close those of all handles
    {"do": "twin"}                                          fork, to answer on the next socket
    {"do": "interrupt"}                                     raise KeyboardInterrupt

The reply has the request's number, and ``value``, ``error`` or ``refused``. With ``"thread": true``
a call runs in a separate thread; everything else runs in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from IPython.core.compilerop import CachingCompiler
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from course.grading import wire


class _Compiler(CachingCompiler):
    """Names cells as the project does, in tracebacks."""

    cell = ""

    def get_code_name(self, *_: object) -> str:
        """Return the file name of the cell's code."""
        return f"<cell {self.cell}>"


class _Shell(InteractiveShell):
    """IPython without a terminal, for its magics."""

    compiler_class = Type(_Compiler)

    def showtraceback(self, *_: object, **__: object) -> None:
        """Show nothing: the error is part of the reply."""


class StudentProcess:
    """Runs requests; ``namespace`` is the notebook's."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        settings = Config()
        settings.HistoryManager.enabled = False
        self._shell = _Shell.instance(config=settings)
        self._opened: dict[str, tuple[dict[str, Any], Any, Callable[[], Any]]] = {}

    def serve(self) -> None:
        """Answer requests until the socket is closed."""
        threading.Thread(target=self._read, args=(self._channel,), daemon=True).start()
        while True:
            try:
                request = self._requests.get()
                if request is None:
                    return
                self._answer(request)
            except KeyboardInterrupt:
                continue  # it came late, between two requests

    def _read(self, channel: socket.socket) -> None:
        with contextlib.suppress(EOFError, OSError, wire.WireError):
            while True:
                request = wire.receive(channel)
                if request["do"] == "interrupt":
                    os.kill(os.getpid(), signal.SIGINT)
                elif request.get("thread"):
                    threading.Thread(target=self._answer, args=(request,), daemon=True).start()
                elif request["do"] == "twin":
                    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
                    self._requests.put({**request, "descriptor": descriptors[0]})
                else:
                    self._requests.put(request)
        self._requests.put(None)

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            reply = self._done(request)
        except wire.WireError as error:
            reply = {"refused": str(error)}
        except BaseException as error:  # noqa: BLE001 - a student's function may raise anything
            reply = {"error": wire.describe_error(error)}
        try:
            self._reply(request, reply)
        except (wire.WireError, ValueError) as error:
            self._reply(request, {"refused": str(error)})

    def _reply(self, request: dict[str, Any], reply: dict[str, Any]) -> None:
        with self._lock:
            wire.send(self._channel, {"number": request["number"], **reply})

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "cell":
                return self._cell(request["name"], request["code"])
            case "call":
                args = wire.decode(request["args"], self._open)
                kwargs = wire.decode(request["kwargs"], self._open)
                function = self._shell.user_ns.get(request["function"])
                if function is None:
                    raise NameError(f"{request['function']} is not defined")
                return {"value": wire.encode(function(*args, **kwargs))}
            case "open":
                self._open(request["handle"])
            case "close":
                self._close(request["handle"]["token"])
            case "forget":
                self._close(None)
            case "twin":
                self._fork(request["descriptor"])
        return {"value": None}

    def _cell(self, name: str, code: str) -> dict[str, Any]:
        _Compiler.cell = name
        result: Any = self._shell.run_cell(code, store_history=True)  # type: ignore[no-untyped-call]
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            return {"error": wire.describe_error(error)}
        return {"value": None}

    def _fork(self, descriptor: int) -> None:
        if os.fork():
            os.close(descriptor)
            return
        self._channel.close()
        self._channel = socket.socket(fileno=descriptor)
        self._opened = {}
        self._requests = queue.SimpleQueue()
        self._lock = threading.Lock()
        try:
            self.serve()
        finally:
            os._exit(0)

    def _close(self, token: int | None) -> None:
        for key, (handle, _, close) in list(self._opened.items()):
            if token is None or handle.get("token") == token:
                del self._opened[key]
                with contextlib.suppress(Exception):
                    close()

    def _open(self, handle: dict[str, Any]) -> Any:
        from course.grading.handles import open_handle, part_of

        whole = {name: value for name, value in handle.items() if name != "part"}
        key = repr(whole)
        found = self._opened.get(key)
        if found is None or getattr(found[1], "closed", False) is True:
            found = self._opened[key] = (whole, *open_handle(whole))
        return part_of(found[1], handle)


def main() -> None:
    """Send the sockets for relays, become the given account, and serve."""
    descriptor, count = map(int, sys.argv[1:3])
    channel = socket.socket(fileno=descriptor)
    relays = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    wire.send(channel, {"ports": [one.getsockname()[1] for one in relays]})
    socket.send_fds(channel, [b"x"], [one.fileno() for one in relays])
    for one in relays:
        one.close()
    os.environ.update(wire.receive(channel)["environ"])
    process = StudentProcess(channel)
    wire.send(channel, {"ready": True})
    process.serve()


if __name__ == "__main__":
    main()
