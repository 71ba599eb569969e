"""Fault injection on containers: which ``docker`` commands are run, how their output is read.

A fake ``docker`` program, first on the path, keeps the containers' states in files and logs its
commands.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from helpers.cli.commands import main
from helpers.errors import FaultError, ServerError
from helpers.faults import inject_faults
from helpers.faults.containers import ControlledContainers, find_containers
from helpers.faults.fault_lock import hold_fault_lock
from helpers.faults.server_control import find_servers, restart, restore_servers
from helpers.settings import PROJECT, Addresses, Settings
from helpers.stores import Stores

NAMES = ("coordinator", "worker1", "worker2", "mongo", "redis")
RUNNING = dict.fromkeys(NAMES, "running")

# A shell script, which starts quickly: it is run many times.
DOCKER = """#!/bin/sh
cd '{folder}' || exit 1
if [ "$1" = inspect ]; then
    shift 3
    found= missing=0
    for name; do
        if [ -e "$name.state" ]; then
            read -r state <"$name.state"
            read -r ports <"$name.ports"
            found="$found,{{\\"Name\\": \\"/$name\\", \\"State\\": {{\\"Status\\": \\"$state\\""
            found="$found, \\"Health\\": {{\\"Status\\": \\"healthy\\"}}}}"
            found="$found, \\"HostConfig\\": {{\\"PortBindings\\": $ports}}}}"
        else
            missing=1
        fi
    done
    echo "[${{found#,}}]"
    exit $missing
fi
echo "$*" >>asked
read -r state <"$2.state"
case "$1 $state" in
    "stop running" | "kill running" | "kill paused") after=exited ;;
    "pause running") after=paused ;;
    "unpause paused" | "start exited") after=running ;;
    *) after= ;;
esac
if [ -e broken ] || [ -z "$after" ]; then
    echo "Error response from daemon: no such thing" >&2
    exit 1
fi
echo "$after" >"$2.state"
"""


class Docker:
    """The fake ``docker``: its containers, and the commands that it was run with."""

    def __init__(self, folder: Path, addresses: Addresses) -> None:
        self.folder = folder
        inside = {"coordinator": 5432, "mongo": 27017, "redis": 6379}
        urls = {
            "coordinator": addresses.coordinator,
            "mongo": addresses.mongo,
            "redis": addresses.redis,
        }
        for name in (*NAMES, "worker3"):
            port = urlsplit(urls[name]).port if name in urls else 1
            bound = [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
            ports = {} if name == "worker3" else {f"{inside.get(name, 5432)}/tcp": bound}
            (folder / f"shop-{name}.ports").write_text(json.dumps(ports) + "\n")
            state = "exited" if name == "worker3" else "running"
            (folder / f"shop-{name}.state").write_text(f"{state}\n")
        program = folder / "docker"
        program.write_text(DOCKER.format(folder=folder))
        program.chmod(0o755)

    def states(self) -> dict[str, str]:
        files = {name: self.folder / f"shop-{name}.state" for name in NAMES}
        return {name: file.read_text().strip() for name, file in files.items()}

    def commands(self) -> list[str]:
        """Return the commands since the last call, without ``inspect``."""
        file = self.folder / "asked"
        found = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@pytest.fixture
def docker(tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Docker:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Docker(tmp_path, stores.addresses)


@pytest.fixture
def containers(docker: Docker, stores: Stores) -> ControlledContainers:
    found = find_containers(stores.addresses)
    assert found is not None
    return found


def test_container_names_match_the_compose_file() -> None:
    text = (PROJECT / "docker-compose.yml").read_text("utf-8")
    there = set(re.findall(r"container_name: shop-(\w+)", text))
    assert there == {*NAMES, "worker3", "register"}


def test_each_fault_runs_its_docker_command_once(
    docker: Docker, containers: ControlledContainers
) -> None:
    name = "worker2"
    server = containers.server(name)
    acts: list[tuple[Callable[[], None], str, str]] = [
        (server.stop, "stop", "stopped"),
        (server.start, "start", "running"),
        (server.freeze, "pause", "frozen"),
        (server.thaw, "unpause", "running"),
        (server.freeze, "pause", "frozen"),
        (server.kill, "kill", "stopped"),
        (server.start, "start", "running"),
        (server.freeze, "pause", "frozen"),
        (server.start, "unpause", "running"),
        (server.kill, "kill", "stopped"),
        (server.start, "start", "running"),
    ]
    for act, command, state in acts:
        act()
        assert docker.commands() == [f"{command} shop-{name}"]
        assert server.state() == state
        act()  # a second time it does nothing
        assert docker.commands() == []
    restart(containers, name)
    assert docker.commands() == [f"stop shop-{name}", f"start shop-{name}"]
    server.freeze()
    server.stop()
    assert docker.commands() == [f"pause shop-{name}", f"unpause shop-{name}", f"stop shop-{name}"]


def test_only_containers_that_were_running_are_restored(
    docker: Docker, containers: ControlledContainers
) -> None:
    assert tuple(containers.names()) == ("coordinator", "worker1", "worker2", "worker3", *NAMES[3:])
    assert containers.server("worker3").state() == "stopped"
    containers.server("mongo").stop()
    containers.server("worker1").freeze()
    docker.commands()
    restore_servers(containers)
    assert docker.commands() == ["unpause shop-worker1", "start shop-mongo"]


def test_containers_are_restored_after_an_exception(docker: Docker, stores: Stores) -> None:
    settings = Settings(docker.folder / "none", addresses=stores.addresses)

    def body() -> None:
        with inject_faults(stores, settings=settings) as faults:
            faults.freeze("redis")
            faults.kill("worker2")
            assert faults.state() == RUNNING | {
                "redis": "frozen",
                "worker2": "stopped",
                "worker3": "stopped",
            }
            with (
                pytest.raises(FaultError, match="being injected into these servers already"),
                inject_faults(stores, settings=settings, wait_seconds=0),
            ):
                pytest.fail("two processes injected faults at once")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert docker.states() == RUNNING


PROGRAM = """
import time
from helpers.faults import inject_faults
from helpers.shop import open_shop
with open_shop() as shop, inject_faults(shop) as faults:
    faults.freeze("redis")
    faults.kill("worker2")
    print("injected", flush=True)
    time.sleep(600)
"""


def test_containers_are_restored_after_a_crash(
    docker: Docker, containers: ControlledContainers, shop_environ: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT,
        env=shop_environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "injected\n"
        assert docker.states() != RUNNING
        os.kill(process.pid, signal.SIGKILL)
    file = containers.lock()
    assert file is not None
    with hold_fault_lock(file, wait_seconds=60):
        assert docker.states() == RUNNING


@pytest.fixture
def elsewhere(stores: Stores) -> Addresses:
    return Addresses(
        "postgresql://u:secret@127.0.0.1:1/d",
        (),
        stores.addresses.mongo,
        stores.addresses.redis,
    )


def test_containers_with_other_addresses_are_not_controlled(
    docker: Docker, elsewhere: Addresses, stores: Stores
) -> None:
    assert find_containers(elsewhere) is None
    far = stores.addresses.coordinator.replace("127.0.0.1", "db.example.org")
    assert find_containers(Addresses(far, (), elsewhere.mongo, elsewhere.redis)) is None
    assert find_servers(Settings(docker.folder, addresses=elsewhere)).names() == ()


def test_errors_of_docker_are_reported(docker: Docker, containers: ControlledContainers) -> None:
    (docker.folder / "broken").touch()
    with pytest.raises(ServerError, match=r"docker stop shop-redis.*no such thing"):
        containers.server("redis").stop()
    with pytest.raises(ServerError, match=r"no server called 'mysql'.*coordinator"):
        containers.server("mysql").stop()


def test_the_drill_command_controls_containers(
    docker: Docker,
    shop_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in shop_environ.items():
        monkeypatch.setenv(name, value)
    assert main(["drill", "freeze", "mongo"]) == 0
    assert dict(line.split() for line in capsys.readouterr().out.splitlines()) == RUNNING | {
        "mongo": "frozen",
        "worker3": "stopped",
    }
    assert docker.commands() == ["pause shop-mongo"]
