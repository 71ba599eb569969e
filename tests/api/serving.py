"""Run the service in a thread of the test process, which is faster than a process.

It is the same application behind the same uvicorn, on a free port. Tests of the program itself
(arguments, start, signals, memory) use ``helpers.lab.start_service``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import uvicorn
import uvloop

from helpers.api.application import create_app
from helpers.api.json_logs import json_logger
from helpers.api.options import ServeOptions
from helpers.api.serve import run_server, server_config
from helpers.lab.background_programs import ServiceProcess
from helpers.settings import Addresses, load_settings
from helpers.stores import Stores
from helpers.stores.environment import environment_of

_BACKLOG = 2048
_JOIN_SECONDS = 60.0
# Only a request that hangs takes longer.
_CLIENT_SECONDS = 60.0


def addresses_of(stores: Stores) -> Addresses:
    """Return the addresses that lead to the databases of ``stores``."""
    addresses = load_settings(environment_of(stores), dotenv=Path(os.devnull)).addresses
    assert addresses is not None
    return addresses


@contextlib.contextmanager
def serving(stores: Stores, **options: Any) -> Iterator[ServiceProcess]:
    """Serve the databases of ``stores`` from a thread with these ``ServeOptions``.

    Raises what ``open_service`` raises.
    """
    token = secrets.token_urlsafe(24)
    with (
        tempfile.TemporaryDirectory(prefix="course-api-") as folder,
        (Path(folder) / "log.jsonl").open("wb") as log,
        socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = _ServingThread(addresses_of(stores), ServeOptions(token, **options), listener, log)
        thread.start()
        try:
            thread.server.result()
            yield ServiceProcess(url, token, Path(log.name), os.getpid())
        finally:
            thread.end()


def client_of(service: ServiceProcess) -> httpx.Client:
    """Return a client of ``service`` with the token and an unlimited number of connections."""
    limits = httpx.Limits(max_connections=None)
    return httpx.Client(
        base_url=service.url, headers=service.write_headers, timeout=_CLIENT_SECONDS, limits=limits
    )


class _ServingThread(threading.Thread):
    """The thread. ``server`` has a result when the stores are open, or the error."""

    def __init__(
        self, addresses: Addresses, options: ServeOptions, listener: socket.socket, log: BinaryIO
    ) -> None:
        super().__init__(name="serving", daemon=True)
        self.server: Future[uvicorn.Server] = Future()
        self._addresses = addresses
        self._options = options
        self._listener = listener
        self._log = log
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # raised again in the test
            if self.server.done():
                self._error = error
            else:
                self.server.set_exception(error)

    def end(self) -> None:
        """Stop the server, and raise the error that it ended with."""
        if not self.server.exception():
            self.server.result().should_exit = True
        self.join(_JOIN_SECONDS)
        assert not self.is_alive(), "the service does not stop"
        if self._error is not None:
            raise self._error

    async def _serve(self) -> None:
        log = json_logger(self._log)
        app = create_app(self._options, addresses=self._addresses, log=log)
        server = _Server(server_config(app, self._options), self.server)
        await run_server(app, server, self._listener)


class _Server(uvicorn.Server):
    """A server that completes ``started`` with itself when it accepts connections."""

    def __init__(self, config: uvicorn.Config, started: Future[uvicorn.Server]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started.set_result(self)
