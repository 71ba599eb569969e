"""Servers end if their data folder, or a part of it, is deleted, moved or replaced."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from helpers.embedded import EmbeddedServers, embedded_servers
from helpers.embedded.server_processes import is_alive, send_signal
from helpers.errors import ServerError
from tests.e2e.servers.server_helpers import NAMES, main_pids, run_command
from tests.waiting import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.verify]

#: Nothing of ours may be left after so many seconds.
LIMIT_SECONDS = 10


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def _replace_by_folder(folder: Path) -> None:
    _move(folder)
    folder.mkdir()


def _delete(*patterns: str) -> Callable[[Path], None]:
    def delete(folder: Path) -> None:
        for path in [path for pattern in patterns for path in folder.glob(pattern)]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return delete


def _clean(folder: Path) -> None:
    """Delete it as ``git clean`` does, which deletes a folder's ignored files and folders."""
    subprocess.run(["git", "init", "-q", str(folder.parent)], check=True)
    subprocess.run(["git", "-C", str(folder.parent), "clean", "-ffdxq"], check=True)


def _running(servers: EmbeddedServers) -> dict[str, psutil.Process]:
    """Return all processes of the servers, with their watch, by name."""
    found = {name: psutil.Process(pid) for name, pid in main_pids(servers).items()}
    children = [child for process in found.values() for child in process.children(recursive=True)]
    return found | {f"child {child.pid}": child for child in children}


def _watches(servers: EmbeddedServers) -> list[psutil.Process]:
    """Return the processes that watch the servers: they hold the other end of the pipe."""
    pipes = {
        os.readlink(file)  # noqa: PTH115 - a pipe is no path
        for file in Path(f"/proc/{main_pids(servers)['redis']}/fd").iterdir()
        if os.readlink(file).startswith("pipe:")  # noqa: PTH115
    }
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                any("watch_program" in part for part in process.cmdline())
                and os.readlink(f"/proc/{process.pid}/fd/0") in pipes  # noqa: PTH115
            ):
                found.append(process)
    return found


@pytest.fixture
def started(own_servers: EmbeddedServers) -> EmbeddedServers:
    own_servers.up()
    return own_servers


@pytest.mark.parametrize(
    ("lose", "lost"),
    [
        (shutil.rmtree, NAMES),
        (_clean, NAMES),
        (_replace_by_folder, NAMES),
        (_delete("servers.json"), NAMES),
        (
            _delete("postgres/worker1/*", "mongo/*", "redis/*", "log", "lock"),
            ["worker1", "mongo", "redis"],
        ),
    ],
    ids=["rmtree", "git clean", "another folder", "servers.json", "parts"],
)
def test_servers_that_lose_their_folder_end_without_help(
    lose: Callable[[Path], None], lost: list[str], started: EmbeddedServers
) -> None:
    before = _running(started)
    [watch] = _watches(started)
    lose(started.settings.data_folder)
    ended = [process for name, process in before.items() if name in lost]
    if len(lost) == len(NAMES):
        ended = [*before.values(), watch]
    wait_until(lambda: not any(map(is_alive, ended)), LIMIT_SECONDS)
    kept = [process for name, process in before.items() if name in set(NAMES) - set(lost)]
    assert all(map(is_alive, kept))


def test_a_frozen_server_ends_too(started: EmbeddedServers) -> None:
    before = _running(started)
    for name in ("worker1", "mongo"):
        started.server(name).freeze()
    shutil.rmtree(started.settings.data_folder)
    wait_until(lambda: not any(map(is_alive, before.values())), LIMIT_SECONDS)


@pytest.mark.parametrize("lose", [shutil.rmtree, _replace_by_folder])
def test_the_next_start_gives_new_servers(
    lose: Callable[[Path], None], started: EmbeddedServers
) -> None:
    data_folder = started.settings.data_folder
    before = _running(started)
    lose(data_folder)
    status = run_command(data_folder, "status")
    assert status.returncode == 2
    assert "are not running: start them with" in status.stderr
    assert run_command(data_folder, "up").returncode == 0
    assert run_command(data_folder, "status").returncode == 0
    assert not {process.pid for process in before.values()} & set(main_pids(started).values())
    wait_until(lambda: not any(map(is_alive, before.values())), LIMIT_SECONDS)


@pytest.mark.parametrize("command", ["up", "down", "reset"])
def test_a_command_ends_servers_without_a_watch(command: str, started: EmbeddedServers) -> None:
    """The watch may have been killed too."""
    data_folder = started.settings.data_folder
    before = _running(started)
    for watch in _watches(started):
        watch.kill()
    shutil.rmtree(data_folder)
    assert run_command(data_folder, command).returncode == 0
    assert not any(map(is_alive, before.values()))


def test_servers_moved_with_their_data_start_in_the_new_place(started: EmbeddedServers) -> None:
    data_folder = started.settings.data_folder
    before = _running(started)
    (started.server("worker1").directory / "mark").touch()
    _move(data_folder)
    wait_until(lambda: not any(map(is_alive, before.values())), LIMIT_SECONDS)
    moved = data_folder.with_name("moved")
    try:
        assert run_command(moved, "up").returncode == 0
    finally:
        assert run_command(moved, "reset").returncode == 0


def test_a_watch_ends_with_its_servers(started: EmbeddedServers) -> None:
    watches = _watches(started)
    assert len(watches) == 1
    started.up()
    assert _watches(started) == watches, "a start that starts no server leaves no second watch"
    started.down()
    wait_until(lambda: not any(map(is_alive, watches)))


def test_a_cluster_without_one_of_its_nodes_is_refused(started: EmbeddedServers) -> None:
    data_folder = started.settings.data_folder
    assert run_command(data_folder, "up").returncode == 0
    before = _running(started)
    shutil.rmtree(data_folder / "postgres" / "worker2")
    wait_until(lambda: not is_alive(before["worker2"]), LIMIT_SECONDS)
    up = run_command(data_folder, "up")
    assert up.returncode == 2
    assert "postgres/worker2 was deleted" in up.stderr
    shutil.rmtree(data_folder / "postgres")
    wait_until(lambda: not is_alive(before["coordinator"]), LIMIT_SECONDS)
    assert run_command(data_folder, "up").returncode == 0, "a new cluster"
    assert run_command(data_folder, "seed", "--products", "3").returncode == 0
    worker = psutil.Process(main_pids(started)["worker1"])
    (data_folder / "postgres" / "worker1" / "PG_VERSION").unlink()
    wait_until(lambda: not is_alive(worker), LIMIT_SECONDS)
    up = run_command(data_folder, "up")
    assert (up.returncode, "PG_VERSION was deleted from it" in up.stderr) == (2, True)


def test_data_without_their_saved_state_are_refused_but_can_be_reset(
    started: EmbeddedServers,
) -> None:
    data_folder = started.settings.data_folder
    started.down()
    (data_folder / "servers.json").unlink()
    for command in ("up", "down"):
        done = run_command(data_folder, command)
        assert done.returncode == 2
        assert "servers.json was deleted, and with it the ports and passwords" in done.stderr
    assert run_command(data_folder, "reset").returncode == 0
    assert run_command(data_folder, "up").returncode == 0


def test_a_folder_deleted_during_the_start_is_named(
    own_servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(*_: object) -> None:
        shutil.rmtree(own_servers.settings.data_folder)

    monkeypatch.setattr(embedded_servers, "_check_nodes", delete)
    with pytest.raises(ServerError, match="was deleted or moved while its servers were starting"):
        own_servers.up()


def test_a_shell_in_a_deleted_folder_stays(own_servers: EmbeddedServers) -> None:
    directory = own_servers.settings.data_folder / "redis"
    directory.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"], cwd=directory) as shell:
        shutil.rmtree(own_servers.settings.data_folder)
        own_servers.down()
        assert shell.poll() is None
        send_signal([psutil.Process(shell.pid)], 9)  # type: ignore[arg-type]
