"""How the tests drive the course's own servers: by command, and by the processes themselves."""

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
from helpers.settings import PROJECT, load_settings
from helpers.shop import open_shop
from tests.commanding import Done, run_here
from tests.waiting import wait_until

NAMES = ["coordinator", "worker1", "worker2", "mongo", "redis"]


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """Yield a place for a data directory that is not there yet.

    Not below pytest's own folders: each run of pytest closes them to others, and where we are root
    PostgreSQL's processes are others.
    """
    with tempfile.TemporaryDirectory(prefix="course-tests-") as folder:
        yield (Path(folder) / "shop").resolve()


@contextlib.contextmanager
def temporary_servers() -> Iterator[EmbeddedServers]:
    """Yield servers of a test's own, not started, of the PostgreSQL that all tests are of."""
    with temporary_home() as home:
        settings = replace(load_settings(), data_folder=home, addresses=None, durable=False)
        servers = EmbeddedServers(settings)
        try:
            yield servers
        finally:
            servers.reset()


def shared_servers(session: pytest.Session) -> EmbeddedServers:
    """Return servers that the tests of this process may stop and kill; each leaves all running.

    They are started for the first module that needs them and kept for the others, since starting a
    new set takes seconds. What they hold may be anything: a module empties what it uses.
    """
    if _SHARED not in session.stash:
        kept = contextlib.ExitStack()
        session.addfinalizer(kept.close)
        session.stash[_SHARED] = kept.enter_context(temporary_servers())
    servers = session.stash[_SHARED]
    open_shop(servers.settings).close()
    return servers


_SHARED = pytest.StashKey[EmbeddedServers]()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "helpers", *arguments]


def environ(home: Path) -> dict[str, str]:
    urls = ("POSTGRES_URL", "POSTGRES_WORKER_URLS", "MONGO_URL", "REDIS_URL")
    kept = {key: value for key, value in os.environ.items() if key not in urls}
    return kept | {"SHOP_HOME": str(home), "SHOP_DURABILITY": "off", "SHOP_DOTENV": os.devnull}


def call(home: Path, *arguments: str) -> Done:
    """Run a command in this process, which takes a tenth of the time of ``run``."""
    return run_here(environ(home), *arguments)


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=PROJECT,
        env=environ(home),
        capture_output=True,
        text=True,
        check=False,
    )


def pids(servers: EmbeddedServers) -> dict[str, int]:
    """Return the main process of each server that runs."""
    found = {name: servers.server(name).main_process() for name in NAMES}
    return {name: process.pid for name, process in found.items() if process is not None}


def processes_below(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(home):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def runs(process: psutil.Process) -> bool:
    """Tell whether a process is there, and not only as a trace that nobody has collected."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pids: dict[str, int]) -> None:
    processes = [psutil.Process(pid) for pid in pids.values()]
    for process in processes:
        process.kill()
    wait_until(lambda: not any(map(runs, processes)))


@contextlib.contextmanager
def frozen(servers: EmbeddedServers, name: str) -> Iterator[None]:
    """Let all processes of a server stand still: it is there, and says nothing."""
    stopped = servers.server(name).processes()
    try:
        for process in stopped:
            process.suspend()
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
