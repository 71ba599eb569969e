"""Start embedded servers for tests, run ``python -m helpers`` on them, and kill their processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from helpers.embedded import EmbeddedServers
from helpers.embedded.server_processes import is_alive
from helpers.settings import PROJECT, load_settings
from helpers.shop import open_shop
from tests.command_line import Done, run_main
from tests.waiting import wait_until

NAMES = ["coordinator", "worker1", "worker2", "mongo", "redis"]


@contextlib.contextmanager
def temporary_data_folder() -> Iterator[Path]:
    """Yield the path of a data folder that does not exist yet; delete it at the end.

    It is not below pytest's own folders: pytest makes those private, and if the tests run as root
    PostgreSQL runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="course-tests-") as folder:
        yield (Path(folder) / "shop").resolve()


@contextlib.contextmanager
def temporary_servers() -> Iterator[EmbeddedServers]:
    """Yield servers for one test, not started, with the PostgreSQL that all tests use."""
    with temporary_data_folder() as data_folder:
        settings = replace(load_settings(), data_folder=data_folder, addresses=None, durable=False)
        servers = EmbeddedServers(settings)
        try:
            yield servers
        finally:
            servers.reset()


def shared_servers(session: pytest.Session) -> EmbeddedServers:
    """Return servers that the tests of this process may stop and kill, all running.

    They are started for the first module that needs them and used by the others too, since starting
    a set takes seconds. A test must leave all of them running, and must empty what it uses.
    """
    if _SHARED not in session.stash:
        stack = contextlib.ExitStack()
        session.addfinalizer(stack.close)
        session.stash[_SHARED] = stack.enter_context(temporary_servers())
    servers = session.stash[_SHARED]
    open_shop(servers.settings).close()
    return servers


_SHARED = pytest.StashKey[EmbeddedServers]()


def helpers_command(*arguments: str) -> list[str]:
    """Return the command line of ``python -m helpers``."""
    return [sys.executable, "-m", "helpers", *arguments]


def environ(data_folder: Path) -> dict[str, str]:
    """Return the environment in which the course uses embedded servers in ``data_folder``."""
    urls = ("POSTGRES_URL", "POSTGRES_WORKER_URLS", "MONGO_URL", "REDIS_URL")
    inherited = {key: value for key, value in os.environ.items() if key not in urls}
    return inherited | {
        "SHOP_HOME": str(data_folder),
        "SHOP_DURABILITY": "off",
        "SHOP_DOTENV": os.devnull,
    }


def run_command(data_folder: Path, *arguments: str) -> Done:
    """Run ``python -m helpers`` in this process, in a tenth of the time of ``run_program``."""
    return run_main(environ(data_folder), *arguments)


def run_program(data_folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m helpers`` in a new process."""
    return subprocess.run(
        helpers_command(*arguments),
        cwd=PROJECT,
        env=environ(data_folder),
        capture_output=True,
        text=True,
        check=False,
    )


def main_pids(servers: EmbeddedServers) -> dict[str, int]:
    """Return the main process of each server that runs."""
    found = {name: servers.server(name).main_process() for name in NAMES}
    return {name: process.pid for name, process in found.items() if process is not None}


def kill_processes(pids: dict[str, int]) -> None:
    """Kill these processes, and wait until they have ended."""
    processes = [psutil.Process(pid) for pid in pids.values()]
    for process in processes:
        process.kill()
    wait_until(lambda: not any(map(is_alive, processes)))


@contextlib.contextmanager
def frozen(servers: EmbeddedServers, name: str) -> Iterator[None]:
    """Suspend all processes of a server: it keeps its port, but does not respond."""
    processes = servers.server(name).processes()
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
