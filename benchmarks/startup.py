"""How long ``python -m helpers up`` takes, and its parts: each server, and the shop's database."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any
from unittest import mock

from benchmarks.timing import print_figure, seconds
from helpers.embedded import EmbeddedServers
from helpers.embedded.mongo_valkey_servers import DocumentServer
from helpers.embedded.postgres_server import PostgresNode
from helpers.embedded.server import Server
from helpers.settings import PROJECT, Settings
from helpers.shop import locate, opening

_RUNS = 5

Parts = defaultdict[str, list[float]]


def bench_startup(servers: EmbeddedServers) -> None:
    """Print the time of the command with and without a data folder, then that of its parts.

    Servers start at the same time, so their times overlap. The target on two cores is 4 s without
    a data folder and 2 s with one.
    """
    settings = servers.settings
    first, again = [], []
    for _ in range(_RUNS):
        servers.reset()
        first.append(seconds(lambda: _up(settings)))
        servers.down()
        again.append(seconds(lambda: _up(settings)))
    print_figure("up, from nothing (target: at most 4 s)", first, "s")
    print_figure("up, on an existing data folder (target: at most 2 s)", again, "s")
    for what, before in (("from nothing", servers.reset), ("existing folder", servers.down)):
        parts: Parts = defaultdict(list)
        for _ in range(_RUNS):
            before()
            with _timed_parts(parts):
                locate(settings)
        for part, values in parts.items():
            print_figure(f"  {part}, {what}", values, "s")


def _up(settings: Settings) -> None:
    environ = {"SHOP_HOME": str(settings.data_folder), "SHOP_DOTENV": os.devnull}
    if settings.pg_bindir is not None:
        environ["PG_BINDIR"] = str(settings.pg_bindir)
    urls = ("POSTGRES_URL", "POSTGRES_WORKER_URLS", "MONGO_URL", "REDIS_URL")
    inherited = {name: value for name, value in os.environ.items() if name not in urls}
    subprocess.run(
        [sys.executable, "-m", "helpers", "up"],
        cwd=PROJECT,
        env=inherited | environ,
        stdout=subprocess.DEVNULL,
        check=True,
    )


@contextlib.contextmanager
def _timed_parts(parts: Parts) -> Iterator[None]:
    """Add the seconds of each part of a start to ``parts``."""

    def timed(function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            results = []
            took = seconds(lambda: results.append(function(*arguments, **options)))
            parts[name(*arguments)].append(took)
            return results[0]

        return call

    with contextlib.ExitStack() as patches:
        for owner, method, name in (
            (PostgresNode, "initdb", lambda *_: "initdb"),
            (DocumentServer, "prepare", lambda *_: "document server's user"),
            (Server, "start", lambda server: f"start of {server.name}"),
            (opening, "create_database", lambda *_: "the shop's database"),
        ):
            replacement = timed(getattr(owner, method), name)
            patches.enter_context(mock.patch.object(owner, method, replacement))
        yield
