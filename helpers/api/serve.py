"""Serve the application with uvicorn: a socket, an event loop, time limits for slow clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from helpers.api.application import create_app
from helpers.api.client_timeouts import protocol_with
from helpers.api.json_logs import json_logger, uvicorn_logging
from helpers.api.options import ServeOptions
from helpers.errors import SettingsError
from helpers.settings import Addresses

_GRACE_SECONDS = 10
_IDLE_SECONDS = 30
_BACKLOG = 2048
_LAST_PORT = 65_535


def serve(addresses: Addresses, options: ServeOptions) -> None:
    """Serve the shop until SIGINT or SIGTERM, and print its address on standard output.

    The lifespan prints a generated token before. Logs go to standard error.

    Raises ``SettingsError`` if the port cannot be used, ``StoreError`` if a store does not respond.
    """
    app = create_app(options, addresses=addresses, log=json_logger())
    loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with _listening(options.host, options.port) as listener, loop:
        config = server_config(app, options, log_config=uvicorn_logging())
        loop.run(run_server(app, _AnnouncingServer(config, listener), listener))


async def run_server(app: FastAPI, server: uvicorn.Server, listener: socket.socket) -> None:
    """Run the server within the application's lifespan.

    Uvicorn would log an error of the lifespan and exit. Here it is raised.
    """
    async with app.router.lifespan_context(app):
        await server.serve(sockets=[listener])


def server_config(
    app: FastAPI, options: ServeOptions, *, log_config: dict[str, Any] | None = None
) -> uvicorn.Config:
    """Return the configuration of uvicorn.

    ``log_config`` configures Python's own logging; with ``None`` it stays as it is.
    """
    return uvicorn.Config(
        app,
        http=protocol_with(options.client_timeout),
        ws="none",
        lifespan="off",  # ``run_server`` runs it
        access_log=False,
        log_config=log_config,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _AnnouncingServer(uvicorn.Server):
    """A server that prints its address when it accepts connections."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"The shop is at http://{shown}:{port}/", flush=True)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        # getaddrinfo itself would accept 99999 as 34463.
        if not 0 <= port <= _LAST_PORT:
            raise OverflowError
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except (OSError, OverflowError, UnicodeError):
        raise SettingsError(
            f"There is no address {host!r} with a port {port}: give --host a name or a number of "
            "this machine, and --port a number from 0 to 65535."
        ) from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise SettingsError(
                f"Port {port} of {host} cannot be used ({os.strerror(error.errno or 0)}): stop "
                "the program that uses it, or choose another port with --port (0: any free one)."
            ) from None
        yield listener
