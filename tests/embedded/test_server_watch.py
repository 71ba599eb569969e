"""A process ends soon after its data directory was deleted, moved or replaced, and else stays."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from helpers.embedded.server_processes import children, is_alive
from helpers.embedded.server_watch import ServerWatch, watching
from tests.waiting import PATIENCE, wait_until

#: Prints which signal it received, and ends.
_SERVER = """
import signal, sys, time

def end(number, _):
    print(signal.Signals(number).name, flush=True)
    sys.exit()

for number in (signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, end)
print("ready", flush=True)
time.sleep(600)
"""
_STUBBORN = _SERVER.replace("sys.exit()", "pass")


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def _replace_by_folder(folder: Path) -> None:
    _move(folder)
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "essential").touch()


def _replace_by_link(folder: Path) -> None:
    _replace_by_folder(folder)
    folder.rename(folder.with_name("another"))
    folder.symlink_to("another")


def _replace_by_file(folder: Path) -> None:
    _move(folder)
    folder.touch()


def _delete_essential(folder: Path) -> None:
    (folder / "data" / "essential").unlink()


def _link_to_itself(folder: Path) -> None:
    _move(folder)
    folder.symlink_to("moved")


def _delete_other(folder: Path) -> None:
    (folder / "data" / "other").unlink()


def _start(folder: Path, watch: ServerWatch, program: str = _SERVER) -> subprocess.Popen[str]:
    directory = folder / "data"
    directory.mkdir(parents=True)
    for name in ("essential", "other"):
        (directory / name).touch()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        pass_fds=(watch.descriptor,),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    essential = (directory / "essential", directory / "never")
    watch.add(process.pid, directory, essential, signal.SIGTERM, signal.SIGQUIT)
    return process


@pytest.fixture
def watch() -> Iterator[ServerWatch]:
    with watching() as begun:
        yield begun


def _wait(process: subprocess.Popen[str]) -> str:
    process.wait(PATIENCE)
    with process:
        assert process.stdout is not None
        text = process.stdout.read()
    return text.strip()


@pytest.mark.parametrize(
    ("lose", "sign"),
    [
        (shutil.rmtree, "SIGQUIT"),
        pytest.param(_move, "SIGTERM", marks=pytest.mark.verify),
        pytest.param(_replace_by_folder, "SIGTERM", marks=pytest.mark.verify),
        pytest.param(_replace_by_link, "SIGTERM", marks=pytest.mark.verify),
        pytest.param(_replace_by_file, "SIGTERM", marks=pytest.mark.verify),
        pytest.param(_delete_essential, "SIGTERM", marks=pytest.mark.verify),
    ],
)
@pytest.mark.parametrize(
    "frozen", [False, pytest.param(True, marks=pytest.mark.verify)], ids=["running", "frozen"]
)
def test_a_server_without_its_directory_ends(
    lose: Callable[[Path], None], sign: str, frozen: bool, watch: ServerWatch, tmp_path: Path
) -> None:
    server = _start(tmp_path / "shop", watch)
    if frozen:
        server.send_signal(signal.SIGSTOP)
    lose(tmp_path / "shop")
    assert _wait(server) == sign


@pytest.mark.parametrize("keep", [_link_to_itself, _delete_other])
@pytest.mark.verify
def test_a_server_with_its_directory_stays(
    keep: Callable[[Path], None], watch: ServerWatch, tmp_path: Path
) -> None:
    kept, lost = (_start(tmp_path / name, watch) for name in ("kept", "lost"))
    keep(tmp_path / "kept")
    shutil.rmtree(tmp_path / "lost")
    assert _wait(lost) == "SIGQUIT", "the watch has looked at both"
    assert kept.poll() is None
    kept.kill()
    _wait(kept)


@pytest.mark.verify
def test_a_server_that_ignores_both_signals_is_killed(watch: ServerWatch, tmp_path: Path) -> None:
    server = _start(tmp_path / "shop", watch, _STUBBORN)
    _move(tmp_path / "shop")
    assert _wait(server).split() == ["SIGTERM", "SIGQUIT"]
    assert server.returncode == -signal.SIGKILL


def test_the_watch_lasts_as_long_as_its_servers(tmp_path: Path) -> None:
    with watching() as watch:
        process = psutil.Process(children[-1].pid)
        servers = [_start(tmp_path / name, watch) for name in ("first", "second")]
    for signal_ignored in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        process.send_signal(signal_ignored)
    servers[0].kill()
    _wait(servers[0])
    assert is_alive(process)
    servers[1].kill()
    _wait(servers[1])
    wait_until(lambda: not is_alive(process))
