"""Serving: a socket, an event loop, and uvicorn between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop
from structlog.typing import FilteringBoundLogger

from helpers.api.application import create_app
from helpers.api.client_timeouts import protocol_with
from helpers.api.json_logs import json_logger, uvicorn_logging
from helpers.api.service import Options, Service, open_service
from helpers.errors import SettingsError
from helpers.settings import Addresses

#: The variable of the environment that gives the token for writes.
TOKEN_VARIABLE = "SHOP_TOKEN"  # noqa: S105  # its name, not the token

_GRACE_SECONDS = 10
_IDLE_SECONDS = 30
_BACKLOG = 2048
_SHORTEST_TOKEN = 16
_LAST_PORT = 65_535


def serve(
    addresses: Addresses,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    read_model: bool = False,
    lab: bool = False,
    patience: float = 10.0,
    deadline: float = 5.0,
    breaker: bool = True,
    relay: bool = True,
) -> None:
    """Serve the shop until somebody interrupts, and say on standard output where.

    ``port`` 0 is any that is free. Writes need the token of ``SHOP_TOKEN``, or else one that is
    made and printed here. Logs go to standard error. The other arguments are those of ``Options``.

    Raises ``SettingsError`` where the port is in use or the token too short, and ``StoreError``
    where a store does not answer.
    """
    token, is_ours = _token()
    options = Options(
        token,
        deadline=deadline,
        breaker=breaker,
        read_model=read_model,
        lab=lab,
        patience=patience,
        relay=relay,
    )
    loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with _listening(host, port) as listener, loop:
        loop.run(_serve(addresses, options, listener, token if is_ours else None))


async def _serve(
    addresses: Addresses, options: Options, listener: socket.socket, token: str | None
) -> None:
    async with open_service(addresses, options) as service:
        config = server_config(service, json_logger(), log_config=uvicorn_logging())
        await _Announcing(config, listener, token).serve(sockets=[listener])


def server_config(
    service: Service, log: FilteringBoundLogger, *, log_config: dict[str, Any] | None = None
) -> uvicorn.Config:
    """Return the configuration by which uvicorn serves ``service`` and logs requests to ``log``.

    ``log_config`` configures Python's own logging; ``None`` leaves it as it is.
    """
    return uvicorn.Config(
        create_app(service, log),
        http=protocol_with(service.options.patience),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=log_config,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _Announcing(uvicorn.Server):
    """A server that says where it is once it can be reached."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, token: str | None) -> None:
        super().__init__(config)
        self._listener = listener
        self._token = token

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"The shop is at http://{shown}:{port}/", flush=True)
        if self._token is not None:
            print(f"Token for writes: {self._token}", flush=True)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        # Left to itself, getaddrinfo takes 99999 for 34463.
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


def _token() -> tuple[str, bool]:
    """Return the token for writes, and whether it was made here."""
    given = os.environ.get(TOKEN_VARIABLE, "")
    if not given:
        return secrets.token_urlsafe(24), True
    if len(given) < _SHORTEST_TOKEN or not given.isascii() or not given.isprintable():
        raise SettingsError(
            f"{TOKEN_VARIABLE} must be {_SHORTEST_TOKEN} or more printable characters of ASCII: "
            "correct it, or unset it to have one made."
        )
    return given, False
