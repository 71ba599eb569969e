"""Faults of embedded servers: each fault, and that all servers are restored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import psutil
import psycopg
import pytest
import redis
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from helpers.embedded import EmbeddedServers
from helpers.errors import FaultError, ServerError, SettingsError, StoreError
from helpers.faults import FaultInjection, inject_faults
from helpers.faults.fault_lock import hold_fault_lock
from helpers.faults.server_control import LOCK
from helpers.settings import PROJECT
from helpers.shop import open_shop
from helpers.stores import Stores
from tests.e2e.servers.server_helpers import NAMES, environ, main_pids, run_command, shared_servers

pytestmark = pytest.mark.servers

_RESTARTED = [("worker1", "freeze"), ("mongo", None)]
RUNNING = dict.fromkeys(NAMES, "running")


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> EmbeddedServers:
    """Running servers; each test leaves them running."""
    return shared_servers(request.session)


@pytest.fixture
def shop(running: EmbeddedServers) -> Iterator[Stores]:
    with open_shop(running.settings) as stores:
        yield stores


@pytest.fixture
def faults(running: EmbeddedServers, shop: Stores) -> Iterator[FaultInjection]:
    with inject_faults(shop, settings=running.settings, wait_seconds=0) as faults:
        yield faults


def states(servers: EmbeddedServers) -> dict[str, str]:
    return {name: servers.server(name).state() for name in NAMES}


def hangs(servers: EmbeddedServers, name: str) -> bool:
    """Return whether a server accepts a connection but does not respond."""
    url = servers.server(name).url  # type: ignore[attr-defined]
    try:
        if name == "redis":
            with redis.Redis.from_url(url, socket_timeout=1, retry=None) as client:
                client.ping()
        elif name == "mongo":
            with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=1000) as mongo:
                mongo.admin.command("ping")
        else:
            psycopg.connect(url, connect_timeout=2).close()
    except (redis.TimeoutError, psycopg.errors.ConnectionTimeout):
        return True
    except PyMongoError as error:
        return "refused" not in str(error)
    return False


@pytest.mark.parametrize(
    "name", ["redis", *(pytest.param(name, marks=pytest.mark.verify) for name in NAMES[:-1])]
)
def test_a_fault_affects_only_its_server_and_is_undone(
    running: EmbeddedServers, faults: FaultInjection, name: str
) -> None:
    before = main_pids(running)
    with faults.frozen(name):
        assert faults.state() == RUNNING | {name: "frozen"}
        for process in running.server(name).processes():
            assert process.status() == psutil.STATUS_STOPPED
        assert hangs(running, name)
    assert faults.state() == RUNNING
    assert running.server(name).answers()
    assert main_pids(running) == before, "it continues as the same process"
    acts: list[tuple[Callable[[str], None], Callable[[str], None]]] = [
        (faults.stop, faults.restart),
        (faults.kill, faults.start),
    ]
    for act, restore in acts:
        before = main_pids(running)
        act(name)
        assert faults.state() == RUNNING | {name: "stopped"}
        assert running.server(name).processes() == []
        assert not running.server(name).answers()
        restore(name)
        assert running.server(name).answers()
        after = main_pids(running)
        assert {server for server in NAMES if before[server] != after[server]} == {name}


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("redis", None),
        *(pytest.param(*case, marks=pytest.mark.verify) for case in _RESTARTED),
    ],
)
def test_a_restart_starts_a_new_process_from_every_state(
    running: EmbeddedServers, faults: FaultInjection, name: str, first: str | None
) -> None:
    before = main_pids(running)[name]
    if first is not None:
        getattr(faults, first)(name)
    faults.restart(name)
    assert faults.state() == RUNNING
    assert running.server(name).answers()
    assert main_pids(running)[name] != before


@pytest.mark.verify
def test_faults_are_idempotent(
    faults: FaultInjection,
) -> None:
    for _ in range(2):
        faults.freeze("redis")
        assert faults.state()["redis"] == "frozen"
    for _ in range(2):
        faults.stop("redis")  # also a frozen one
        faults.kill("redis")
        faults.freeze("redis")
        faults.thaw("redis")
        assert faults.state()["redis"] == "stopped"
    for _ in range(2):
        faults.start("redis")
        faults.thaw("redis")
        assert faults.state() == RUNNING


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
def test_a_server_is_restored_after_an_exception(faults: FaultInjection, how: str) -> None:
    def body() -> None:
        with getattr(faults, how)("redis"):
            assert faults.state()["redis"] != "running"
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        body()
    assert faults.state() == RUNNING


def break_all(faults: FaultInjection) -> None:
    faults.kill("coordinator")
    faults.freeze("worker1")
    faults.stop("worker2")
    faults.freeze("mongo")
    faults.kill("redis")


@pytest.mark.verify
def test_all_servers_are_restored_after_an_interrupt(
    running: EmbeddedServers, shop: Stores
) -> None:
    def body() -> None:
        with inject_faults(shop, settings=running.settings) as faults:
            break_all(faults)
            assert "running" not in faults.state().values()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        body()
    assert states(running) == RUNNING
    assert running.running() is not None


@pytest.mark.verify
def test_servers_are_restored_if_the_restoration_is_interrupted(
    running: EmbeddedServers, shop: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    def body() -> None:
        with inject_faults(shop, settings=running.settings) as faults:
            break_all(faults)
            monkeypatch.setattr("helpers.faults.restoration.restore_servers", interrupt)

    with pytest.raises(KeyboardInterrupt):
        body()
    assert states(running) == RUNNING
    assert all(running.server(name).answers() for name in NAMES)


PROGRAM = """
import time
from helpers.faults import inject_faults
from helpers.shop import open_shop
from tests.e2e.faults.test_server_control import break_all
with open_shop() as shop, inject_faults(shop) as faults:
    break_all(faults)
    print(*faults.state().values(), flush=True)
    time.sleep(600)
"""


@pytest.mark.verify
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_all_servers_are_restored_when_the_process_dies(
    running: EmbeddedServers, shop: Stores, sign: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT,
        env=environ(running.settings.data_folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        states_printed = process.stdout.readline().split()
        assert states_printed == ["stopped", "frozen", "stopped", "frozen", "stopped"]
        os.kill(process.pid, sign)
    # The lock is released when all servers are restored, and not before.
    with fault_lock(running):
        assert states(running) == RUNNING
        assert all(running.server(name).answers() for name in NAMES)


def fault_lock(servers: EmbeddedServers) -> AbstractContextManager[int]:
    return hold_fault_lock(servers.folder.path / LOCK, wait_seconds=120)


def test_only_one_process_at_a_time_can_inject_faults(
    running: EmbeddedServers, shop: Stores
) -> None:
    with inject_faults(shop, settings=running.settings):
        with (
            pytest.raises(FaultError, match=f"already, by process {os.getpid()}"),
            inject_faults(shop, settings=running.settings, wait_seconds=0.2),
        ):
            pytest.fail("two processes injected faults at once")
        done = run_command(running.settings.data_folder, "drill", "stop", "redis")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"by process {os.getpid()}" in done.stderr
        assert states(running) == RUNNING
    with inject_faults(shop, settings=running.settings, wait_seconds=0):
        pass


def test_fault_injection_waits_for_the_lock(running: EmbeddedServers, shop: Stores) -> None:
    def second() -> str:
        with inject_faults(shop, settings=running.settings) as faults:
            return faults.state()["redis"]

    with ThreadPoolExecutor(1) as pool, inject_faults(shop, settings=running.settings) as faults:
        faults.freeze("redis")
        waiting = pool.submit(second)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
    assert waiting.result() == "running"


@pytest.mark.verify
def test_up_resumes_a_frozen_server(running: EmbeddedServers) -> None:
    before = main_pids(running)
    running.server("worker1").freeze()
    running.up()
    assert states(running) == RUNNING
    assert main_pids(running) == before


@pytest.mark.verify
def test_servers_stopped_by_down_stay_stopped(running: EmbeddedServers, shop: Stores) -> None:
    with inject_faults(shop, settings=running.settings) as faults:
        faults.freeze("redis")
        running.down()
    assert set(states(running).values()) == {"stopped"}
    with pytest.raises(ServerError, match="cannot be started alone"):
        running.start("redis")
    open_shop(running.settings).close()
    assert states(running) == RUNNING


def test_an_unknown_server_is_refused(faults: FaultInjection) -> None:
    acts: list[Callable[[str], object]] = [faults.stop, faults.freeze, faults.restart, faults.start]
    for act in acts:
        with pytest.raises(ServerError, match="no server called 'postgres'"):
            act("postgres")


def test_stores_of_other_servers_are_refused(
    running: EmbeddedServers, faults: FaultInjection
) -> None:
    with (
        pytest.raises(SettingsError, match="not proxied ones"),
        inject_faults(faults.stores, settings=running.settings),
    ):
        pytest.fail("it controlled other servers")


def test_connecting_to_an_unavailable_store_names_it(faults: FaultInjection) -> None:
    with faults.stopped("redis"), pytest.raises(StoreError) as caught:
        faults.connect()
    assert caught.value.store == "Redis"
    with faults.connect() as stores:
        assert stores.redis.ping()


def test_drill_commands_inject_faults_and_do_not_restore(running: EmbeddedServers) -> None:
    data_folder, name = running.settings.data_folder, "redis"
    for action, state in [
        ("freeze", "frozen"),
        ("thaw", "running"),
        ("stop", "stopped"),
        ("restart", "running"),
        ("kill", "stopped"),
        ("restart", "running"),
    ]:
        done = run_command(data_folder, "drill", action, name)
        assert done.returncode == 0, done.stderr
        assert dict(line.split() for line in done.stdout.splitlines()) == RUNNING | {name: state}
        assert states(running)[name] == state
        assert run_command(data_folder, "drill", "state").stdout == done.stdout
    assert run_command(data_folder, "drill", "stop", "mysql").returncode == 2


def test_drill_commands_report_that_no_server_is_running(own_servers: EmbeddedServers) -> None:
    done = run_command(own_servers.settings.data_folder, "drill", "stop", "redis")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No servers are running" in done.stderr
