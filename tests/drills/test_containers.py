"""The same with Docker: what its program is asked, and what its answers are taken for.

A program called ``docker`` stands in for it, first on the path: it keeps the containers' states in
a file, as Docker's server would, and writes down what it was asked.
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
from typing import Any
from urllib.parse import urlsplit

import pytest

from helpers.drills import practice
from helpers.drills.containers import Containers, find_containers
from helpers.drills.exclusion import only_one
from helpers.drills.servers import bring_back, find_servers, restart
from helpers.errors import DrillError, ServerError
from helpers.settings import PROJECT, Addresses, Settings
from helpers.stores import Stores

NAMES = ("coordinator", "worker1", "worker2", "mongo", "redis")
RUNNING = dict.fromkeys(NAMES, "running")

DOCKER = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
asked = sys.argv[1:]
file = here / "containers.json"
known = json.loads(file.read_text())
if asked[0] == "inspect":
    found = [known[name] for name in asked[3:] if name in known]
    print(json.dumps(found))
    sys.exit(len(found) < len(asked[3:]))
with (here / "asked").open("a") as out:
    print(*asked, file=out)
state = known[asked[1]]["State"]
before, after = {{
    "stop": ("running", "exited"), "kill": ("running", "exited"),
    "pause": ("running", "paused"), "unpause": ("paused", "running"),
    "start": ("exited", "running"),
}}[asked[0]]
if asked[0] == "kill" and state["Status"] == "paused":
    before = "paused"
if state["Status"] != before or (here / "broken").exists():
    sys.exit("Error response from daemon: no such thing")
state["Status"] = after
file.write_text(json.dumps(known))
"""


class Docker:
    """The stand-in: what it knows, and what it was asked."""

    def __init__(self, folder: Path, addresses: Addresses) -> None:
        self.folder = folder
        inside = {"coordinator": 5432, "mongo": 27017, "redis": 6379}
        urls = {
            "coordinator": addresses.coordinator,
            "mongo": addresses.mongo,
            "redis": addresses.redis,
        }
        known: dict[str, Any] = {}
        for name in NAMES:
            port = urlsplit(urls[name]).port if name in urls else 1
            bound = [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
            known[f"shop-{name}"] = {
                "Name": f"/shop-{name}",
                "State": {"Status": "running", "Health": {"Status": "healthy"}},
                "HostConfig": {"PortBindings": {f"{inside.get(name, 5432)}/tcp": bound}},
            }
        known["shop-worker3"] = {
            "Name": "/shop-worker3",
            "State": {"Status": "exited"},
            "HostConfig": {"PortBindings": {}},
        }
        self._file.write_text(json.dumps(known))
        program = folder / "docker"
        program.write_text(DOCKER.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)

    @property
    def _file(self) -> Path:
        return self.folder / "containers.json"

    def states(self) -> dict[str, str]:
        known = json.loads(self._file.read_text())
        return {
            name.removeprefix("shop-"): one["State"]["Status"]
            for name, one in known.items()
            if name != "shop-worker3"
        }

    def asked(self) -> list[str]:
        """Return what was asked since the last time, questions about states apart."""
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
def containers(docker: Docker, stores: Stores) -> Containers:
    found = find_containers(stores.addresses)
    assert found is not None
    return found


def test_the_names_are_those_of_the_compose_file() -> None:
    text = (PROJECT / "docker-compose.yml").read_text("utf-8")
    there = set(re.findall(r"container_name: shop-(\w+)", text))
    assert there == {*NAMES, "worker3", "register"}


@pytest.mark.parametrize("name", NAMES)
def test_docker_is_asked_to_do_each_thing(
    docker: Docker, containers: Containers, name: str
) -> None:
    acts: list[tuple[Callable[[str], None], str, str]] = [
        (containers.stop, "stop", "stopped"),
        (containers.start, "start", "running"),
        (containers.freeze, "pause", "frozen"),
        (containers.thaw, "unpause", "running"),
        (containers.freeze, "pause", "frozen"),
        (containers.kill, "kill", "stopped"),
        (containers.start, "start", "running"),
        (containers.freeze, "pause", "frozen"),
        (containers.start, "unpause", "running"),
        (containers.kill, "kill", "stopped"),
        (containers.start, "start", "running"),
    ]
    for act, asked, state in acts:
        act(name)
        assert docker.asked() == [f"{asked} shop-{name}"]
        assert containers.state(name) == state
        act(name)  # again, it changes nothing
        assert docker.asked() == []
    restart(containers, name)
    assert docker.asked() == [f"stop shop-{name}", f"start shop-{name}"]
    containers.freeze(name)
    containers.stop(name)
    assert docker.asked() == [f"pause shop-{name}", f"unpause shop-{name}", f"stop shop-{name}"]


def test_only_what_ran_is_brought_back(docker: Docker, containers: Containers) -> None:
    assert tuple(containers.names()) == ("coordinator", "worker1", "worker2", "worker3", *NAMES[3:])
    assert containers.state("worker3") == "stopped"
    containers.stop("mongo")
    containers.freeze("worker1")
    docker.asked()
    bring_back(containers)
    assert docker.asked() == ["unpause shop-worker1", "start shop-mongo"]


def test_practice_restores_the_containers(docker: Docker, stores: Stores) -> None:
    settings = Settings(docker.folder / "none", addresses=stores.addresses)

    def body() -> None:
        with practice(stores, settings=settings) as drills:
            drills.freeze("redis")
            drills.kill("worker2")
            assert drills.state() == RUNNING | {
                "redis": "frozen",
                "worker2": "stopped",
                "worker3": "stopped",
            }
            with (
                pytest.raises(DrillError, match="on already"),
                practice(stores, settings=settings, wait_seconds=0),
            ):
                pytest.fail("two drills at once")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert docker.states() == RUNNING


PRACTISING = """
import time
from helpers.drills import practice
from helpers.stores import open_shop
with open_shop() as shop, practice(shop) as drills:
    drills.freeze("redis")
    drills.kill("worker2")
    print("away", flush=True)
    time.sleep(600)
"""


def test_the_guard_restores_the_containers(
    docker: Docker, containers: Containers, shop_environ: dict[str, str]
) -> None:
    practising = subprocess.Popen(
        [sys.executable, "-c", PRACTISING],
        cwd=PROJECT,
        env=shop_environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    with practising:
        assert practising.stdout is not None
        assert practising.stdout.readline() == "away\n"
        assert docker.states() != RUNNING
        os.kill(practising.pid, signal.SIGKILL)
    file = containers.lock()
    assert file is not None
    with only_one(file, wait_seconds=60):
        assert docker.states() == RUNNING


@pytest.fixture
def elsewhere(stores: Stores) -> Addresses:
    return Addresses(
        "postgresql://u:secret@127.0.0.1:1/d",
        (),
        stores.addresses.mongo,
        stores.addresses.redis,
    )


def test_containers_of_other_addresses_are_left_alone(
    docker: Docker, elsewhere: Addresses, stores: Stores
) -> None:
    assert find_containers(elsewhere) is None
    far = stores.addresses.coordinator.replace("127.0.0.1", "db.example.org")
    assert find_containers(Addresses(far, (), elsewhere.mongo, elsewhere.redis)) is None
    assert find_servers(Settings(docker.folder, addresses=elsewhere)).names() == ()


def test_what_docker_refuses_is_told(docker: Docker, containers: Containers) -> None:
    (docker.folder / "broken").touch()
    with pytest.raises(ServerError, match=r"docker stop shop-redis.*no such thing"):
        containers.stop("redis")
    with pytest.raises(ServerError, match=r"no server called 'mysql'.*coordinator"):
        containers.stop("mysql")


def test_the_command_drills_containers(docker: Docker, shop_environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "helpers", "drill", "freeze", "mongo"],
        cwd=PROJECT,
        env=shop_environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == RUNNING | {
        "mongo": "frozen",
        "worker3": "stopped",
    }
    assert docker.asked() == ["pause shop-mongo"]
