"""First starts: two at once, cut short, refused, explained; and what a reset leaves."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.errors import ServerError
from helpers.servers import EmbeddedServers
from helpers.servers.home import Memory
from helpers.settings import PROJECT, Settings
from helpers.stores import open_shop
from tests.servers.driving import NAMES, command, environ, processes_below, run

pytestmark = pytest.mark.servers


def test_two_starts_at_once_give_one_set_of_servers(own_servers: EmbeddedServers) -> None:
    home = own_servers.settings.home
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: run(home, "up"), range(3)))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    assert len({one.stdout for one in done}) == 1
    mains = [p for p in processes_below(home) if p.ppid() not in _all_pids(home)]
    assert len(mains) == len(NAMES)


def _all_pids(home: Path) -> set[int]:
    return {process.pid for process in processes_below(home)}


@pytest.mark.parametrize("seconds", [0.6, 1.2, 2.0, 3.2])
def test_a_start_that_is_killed_is_completed_by_the_next(
    seconds: float, own_servers: EmbeddedServers
) -> None:
    """Wherever the first start is cut short, the second one gives exactly one set of servers."""
    home = own_servers.settings.home
    first = subprocess.Popen(
        command("up"), cwd=PROJECT, env=environ(home), stdout=subprocess.DEVNULL
    )
    try:
        first.wait(seconds)
    except subprocess.TimeoutExpired:
        first.kill()
        first.wait()
    second = run(home, "up")
    assert second.returncode == 0, second.stderr
    mains = [p for p in processes_below(home) if p.ppid() not in _all_pids(home)]
    assert len(mains) == len(NAMES)
    assert not list(home.rglob("new-*")), "nothing unfinished is left"


def test_a_directory_of_another_format_is_refused_and_can_be_reset(
    own_servers: EmbeddedServers,
) -> None:
    home = own_servers.settings.home
    home.mkdir(mode=0o700)
    (home / "servers.json").write_text('{"format": 99}')
    for name in ("up", "status", "products"):
        done = run(home, name)
        assert done.returncode == 2
        assert "another version of this course" in done.stderr
    assert run(home, "reset").returncode == 0
    assert not (home / "servers.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1, "unknown": 2}'])
def test_a_damaged_memory_is_refused(text: str, own_servers: EmbeddedServers) -> None:
    home = own_servers.settings.home
    home.mkdir(mode=0o700)
    (home / "servers.json").write_text(text)
    with pytest.raises(ServerError, match=r"damaged|another version"):
        own_servers.up()


def test_a_folder_with_other_files_is_refused_and_left_alone(own_servers: EmbeddedServers) -> None:
    home = own_servers.settings.home
    home.mkdir()
    (home / "thesis.txt").write_text("three years of work")
    for name in ("up", "reset"):
        done = run(home, name)
        assert done.returncode == 2
        assert "holds other files (thesis.txt)" in done.stderr
    assert (home / "thesis.txt").read_text() == "three years of work"
    (home / "thesis.txt").unlink()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "shop", "up")
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
    assert "SHOP_HOME" in done.stderr


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("FATAL: could not write: No space left on device", "the disk is full"),
        ("database files are incompatible with server", "made by another version"),
        ("bind: Address already in use", "its port is in use"),
        ("something never seen before", "something never seen before"),
        ("", "could not be prepared. Its log is"),
    ],
)
def test_a_server_that_fails_is_explained_by_its_log(
    log: str, expected: str, own_servers: EmbeddedServers
) -> None:
    server = own_servers.server("redis")
    server.log.parent.mkdir(parents=True)
    server.log.write_text(f"starting\n{log}\n" if log else "")
    with pytest.raises(ServerError, match=expected):
        server.fail("could not be prepared", 0)
    own_servers.home.write(Memory())


def test_a_full_disk_is_named_even_where_no_log_could_be_written(
    own_servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_servers.settings.home.mkdir()
    usage = shutil.disk_usage("/")._replace(free=5 * 2**20)
    monkeypatch.setattr("helpers.servers.server.shutil.disk_usage", lambda _: usage)
    with pytest.raises(ServerError, match="only 5 MiB are free on its disk"):
        own_servers.server("redis").fail("could not be prepared", 0)


def test_an_unknown_server_is_refused(own_servers: EmbeddedServers) -> None:
    with pytest.raises(ServerError, match="no server called 'mysql'"):
        own_servers.server("mysql")


def test_reset_deletes_everything(own_servers: EmbeddedServers) -> None:
    own_servers.up()
    home = own_servers.settings.home
    own_servers.reset()
    assert processes_below(home) == []
    assert [entry.name for entry in home.iterdir()] == ["lock"]
    own_servers.reset()


def test_durability_is_on_unless_asked_otherwise(own_servers: EmbeddedServers) -> None:
    assert Settings(Path()).durable
    own_servers.settings = replace(own_servers.settings, durable=True)
    with open_shop(own_servers.settings) as stores:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            row = stores.postgres.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row == ("on",), name
        assert stores.redis.config_get("append*")["appendonly"] == "yes"
        assert stores.redis.config_get("appendfsync") == {"appendfsync": "everysec"}
