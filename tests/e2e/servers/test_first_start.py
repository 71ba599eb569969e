"""First starts: concurrent, interrupted, refused, failed; and the files after a reset."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from helpers.embedded import EmbeddedServers
from helpers.embedded.data_folder import SavedState
from helpers.embedded.mongo_valkey_servers import ValkeyServer
from helpers.embedded.postgres_server import PostgresNode
from helpers.embedded.server_processes import processes_below
from helpers.errors import ServerError
from helpers.settings import DATABASE, PROJECT, Settings, load_settings
from helpers.shop import locate
from tests.e2e.servers.server_helpers import (
    NAMES,
    environ,
    helpers_command,
    run_command,
    run_program,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.servers


def _exists(*patterns: str) -> Callable[[EmbeddedServers], bool]:
    return lambda servers: any(
        file for pattern in patterns for file in servers.settings.data_folder.glob(pattern)
    )


def _has_database(servers: EmbeddedServers) -> bool:
    if servers.folder.read() is None:
        return False
    try:
        url = servers.server("worker1").url  # type: ignore[attr-defined]
        with psycopg.connect(url, dbname="postgres", connect_timeout=5) as connection:
            statement = "SELECT FROM pg_database WHERE datname = %s"
            return connection.execute(statement, [DATABASE]).fetchone() is not None
    except psycopg.OperationalError:
        return False


def _start_and_kill(servers: EmbeddedServers, reached: Callable[[EmbeddedServers], bool]) -> None:
    """Start the servers in another process, and kill that process when ``reached`` holds."""
    data_folder = servers.settings.data_folder
    first = subprocess.Popen(
        helpers_command("up"), cwd=PROJECT, env=environ(data_folder), stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: reached(servers))
    finally:
        first.kill()
        first.wait()


def _assert_one_set(data_folder: Path) -> None:
    """Check that each server runs once, and that no unfinished files are left."""
    processes = processes_below(data_folder)
    pids = {process.pid for process in processes}
    parents = list[int]()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # a PostgreSQL child process that has ended
            parents.append(process.ppid())
    assert len([parent for parent in parents if parent not in pids]) == len(NAMES)
    assert not list(data_folder.rglob("new-*")), "no unfinished data directory is left"


def test_two_starts_after_a_killed_start_give_one_set_and_reset_deletes_it(
    own_servers: EmbeddedServers,
) -> None:
    data_folder = own_servers.settings.data_folder
    _start_and_kill(own_servers, _exists("postgres/new-*", "postgres/worker1"))
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: run_program(data_folder, "up"), range(2)))
    assert [up.returncode for up in done] == [0, 0], [up.stderr for up in done]
    assert len({up.stdout for up in done}) == 1
    _assert_one_set(data_folder)
    assert run_command(data_folder, "reset").returncode == 0
    assert processes_below(data_folder) == []
    assert [entry.name for entry in data_folder.iterdir()] == ["lock"]
    assert run_command(data_folder, "reset").returncode == 0


@pytest.mark.verify
@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(_exists("new-mongo-*", "mongo"), id="document server's user"),
        pytest.param(_exists("postgres/worker?"), id="a node's data directory"),
        pytest.param(_has_database, id="databases"),
    ],
)
def test_the_next_start_completes_a_killed_start(
    reached: Callable[[EmbeddedServers], bool], own_servers: EmbeddedServers
) -> None:
    """Wherever the first start is killed, the second gives exactly one set of servers."""
    _start_and_kill(own_servers, reached)
    locate(own_servers.settings)
    _assert_one_set(own_servers.settings.data_folder)


@pytest.mark.verify
def test_up_adds_a_worker_and_keeps_it(own_servers: EmbeddedServers, tmp_path: Path) -> None:
    data_folder = own_servers.settings.data_folder
    assert run_command(data_folder, "up", "--workers", "1").returncode == 0
    # As root, this folder belongs to PostgreSQL's user, who may put a link there.
    passfile, target = data_folder / "postgres" / "passfile", tmp_path / "target"
    target.write_text("before")
    before = target.stat().st_ctime_ns
    passfile.unlink()
    passfile.symlink_to(target)
    assert run_command(data_folder, "up", "--workers", "2").returncode == 0
    status = json.loads(run_command(data_folder, "status", "--json").stdout)
    assert len(status["postgres"]["workers"]) == 2
    assert (target.read_text(), target.stat().st_ctime_ns) == ("before", before)
    assert not passfile.is_symlink()
    fewer = run_command(data_folder, "up", "--workers", "1")
    assert fewer.returncode == 2
    assert "There are 2 workers" in fewer.stderr


def test_up_with_zero_workers_is_refused(own_servers: EmbeddedServers) -> None:
    done = run_command(own_servers.settings.data_folder, "up", "--workers", "0")
    assert done.returncode == 2
    assert "0 workers make no cluster" in done.stderr


def test_a_data_folder_of_another_format_is_refused_and_can_be_reset(
    own_servers: EmbeddedServers,
) -> None:
    data_folder = own_servers.settings.data_folder
    data_folder.mkdir(mode=0o700)
    (data_folder / "servers.json").write_text('{"format": 99}')
    for name in ("up", "status", "products"):
        done = run_command(data_folder, name)
        assert done.returncode == 2
        assert "another version of this course" in done.stderr
    assert run_command(data_folder, "reset").returncode == 0
    assert not (data_folder / "servers.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1, "unknown": 2}'])
def test_a_damaged_saved_state_is_refused(text: str, own_servers: EmbeddedServers) -> None:
    data_folder = own_servers.settings.data_folder
    data_folder.mkdir(mode=0o700)
    (data_folder / "servers.json").write_text(text)
    with pytest.raises(ServerError, match=r"damaged|another version"):
        own_servers.up()


def test_a_folder_with_other_files_is_refused_and_not_changed(own_servers: EmbeddedServers) -> None:
    data_folder = own_servers.settings.data_folder
    data_folder.mkdir()
    (data_folder / "thesis.txt").write_text("three years of work")
    data_folder.chmod(0o755)
    for name in ("up", "reset"):
        done = run_command(data_folder, name)
        assert done.returncode == 2
        assert "holds other files (thesis.txt)" in done.stderr
    assert (data_folder / "thesis.txt").read_text() == "three years of work"
    assert [entry.name for entry in data_folder.iterdir()] == ["thesis.txt"]
    assert stat.S_IMODE(data_folder.stat().st_mode) == 0o755
    (data_folder / "thesis.txt").unlink()


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_data_folders_of_other_servers_are_refused_and_not_deleted(
    name: str, own_servers: EmbeddedServers
) -> None:
    data_folder = own_servers.settings.data_folder
    (data_folder / name).mkdir(parents=True)
    (data_folder / name / "data").write_text("of a container")
    for action in (own_servers.up, own_servers.reset):
        with pytest.raises(ServerError, match=rf"holds other files \({name}\)"):
            action()
    assert (data_folder / name / "data").read_text() == "of a container"
    assert [entry.name for entry in data_folder.iterdir()] == [name]
    shutil.rmtree(data_folder)


def test_the_error_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_command(tmp_path / "file" / "shop", "up")
    assert done.returncode == 2
    assert "shop, or a part of its path, is a file or a link, not a folder" in done.stderr
    assert "SHOP_HOME" in done.stderr


@pytest.mark.parametrize(
    ("folder", "cause"),
    [
        ("loop/shop", "cannot be used"),
        ("loop", "is of the wrong kind"),
        ("x" * 300, "file name too long"),
        pytest.param(
            "/proc/shop",
            "cannot be created",
            marks=pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux has /proc"),
        ),
    ],
)
def test_a_data_folder_that_cannot_exist_is_refused(
    folder: str, cause: str, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    settings = load_settings({"SHOP_HOME": f"{tmp_path / folder}"}, dotenv=tmp_path / "none")
    with pytest.raises(ServerError, match=cause):
        EmbeddedServers(settings).up()


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("FATAL: could not write: No space left on device", "the disk is full"),
        ("database files are incompatible with server", "made by another version"),
        ("bind: Address already in use", "its port is in use"),
        ("something never seen before", "something never seen before"),
        ("FATAL: never seen\nremoving the folder\n", "never seen"),
        ("initdb: error: never seen\ninitdb: removing contents", "initdb: error: never seen"),
        ("", "could not be prepared. Its log is"),
    ],
)
def test_the_error_explains_a_failed_server_by_its_log(
    log: str, expected: str, own_servers: EmbeddedServers
) -> None:
    server = own_servers.server("redis")
    server.log.parent.mkdir(parents=True)
    server.log.write_text(f"starting\n{log}\n" if log else "")
    with pytest.raises(ServerError, match=expected):
        server.fail("could not be prepared", 0)
    own_servers.folder.write(SavedState())


def test_the_error_names_a_full_disk_without_a_log(
    own_servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_servers.settings.data_folder.mkdir()
    usage = shutil.disk_usage("/")._replace(free=5 * 2**20)
    monkeypatch.setattr("helpers.embedded.server.shutil.disk_usage", lambda _: usage)
    with pytest.raises(ServerError, match="only 5 MiB are free on its disk"):
        own_servers.server("redis").fail("could not be prepared", 0)


def test_an_unknown_server_is_refused(own_servers: EmbeddedServers) -> None:
    with pytest.raises(ServerError, match="no server called 'mysql'"):
        own_servers.server("mysql")


def test_durability_is_on_by_default(own_servers: EmbeddedServers) -> None:
    assert Settings(Path()).durable
    settings = own_servers.settings
    for durable in (True, False):
        own_servers.settings = replace(settings, durable=durable)
        node, redis = own_servers.server("coordinator"), own_servers.server("redis")
        assert isinstance(node, PostgresNode)
        assert isinstance(redis, ValkeyServer)
        assert ("fsync=off" in node._options()) == (not durable)
        assert redis.settings()["appendonly"] == "yes"
        assert redis.settings()["appendfsync"] == ("everysec" if durable else "no")
