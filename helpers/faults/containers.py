"""Fault injection on the containers of docker-compose.yml, by the ``docker`` program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from helpers.embedded.server import ServerState
from helpers.errors import ServerError
from helpers.settings import Addresses

_PREFIX = "shop-"  # of every container_name in docker-compose.yml
_FIRST, _LAST = ("coordinator",), ("mongo", "redis")
_MOST_WORKERS = 9
_PORTS = {"coordinator": "5432/tcp", "mongo": "27017/tcp", "redis": "6379/tcp"}
_HERE = {"127.0.0.1", "localhost", "::1"}

_ANSWER_SECONDS = 60
_START_SECONDS = 120
_POLL_SECONDS = 0.2
# What docker calls the states in which a container's processes are there.
_STATES: Mapping[str, ServerState] = {"running": "running", "paused": "frozen"}


class Containers:
    """The servers in containers, by the names of their services.

    ``running`` are the names of those that are to run when a drill is over.
    """

    def __init__(self, running: Sequence[str]) -> None:
        self._running = tuple(running)

    def names(self) -> Sequence[str]:
        return tuple(_inspect())

    def meant_to_run(self) -> Sequence[str]:
        return self._running

    def lock(self) -> Path | None:
        return Path(tempfile.gettempdir()) / f"course-drill-{os.getuid()}"

    def state(self, name: str) -> ServerState:
        return _state(self._known(name))

    def stop(self, name: str) -> None:
        self.thaw(name)  # a paused container does not hear of it
        if self.state(name) == "running":
            _docker("stop", _PREFIX + name)

    def kill(self, name: str) -> None:
        if self.state(name) != "stopped":
            _docker("kill", _PREFIX + name)

    def freeze(self, name: str) -> None:
        if self.state(name) == "running":
            _docker("pause", _PREFIX + name)

    def thaw(self, name: str) -> None:
        if self.state(name) == "frozen":
            _docker("unpause", _PREFIX + name)

    def start(self, *names: str) -> None:
        for name in names:
            self.thaw(name)
            if self.state(name) == "stopped":
                _docker("start", _PREFIX + name)
        deadline = time.monotonic() + _START_SECONDS
        for name in names:
            while not _is_healthy(self._known(name)):
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"Container {_PREFIX}{name} has not become healthy for {_START_SECONDS} "
                        f"s: see `docker logs {_PREFIX}{name}`."
                    )
                time.sleep(_POLL_SECONDS)

    def described(self) -> dict[str, object]:
        return {"containers": list(self._running)}

    @staticmethod
    def _known(name: str) -> Any:
        found = _inspect()
        if name not in found:
            raise ServerError(
                f"There is no server called {name!r}: docker knows {', '.join(found) or 'none'}. "
                "Start the containers with `make docker-up`."
            )
        return found[name]


def find_containers(addresses: Addresses) -> Containers | None:
    """Return the containers of docker-compose.yml; ``None`` where the addresses lead elsewhere."""
    if shutil.which("docker") is None:
        return None
    found = _inspect()
    urls = {
        "coordinator": addresses.coordinator,
        "mongo": addresses.mongo,
        "redis": addresses.redis,
    }
    if not all(_leads_to(url, found.get(name), _PORTS[name]) for name, url in urls.items()):
        return None
    return Containers([name for name, about in found.items() if _state(about) != "stopped"])


def _inspect() -> dict[str, Any]:
    """Return what docker knows of each container, by the name of its server."""
    names = (*_FIRST, *(f"worker{number}" for number in range(1, _MOST_WORKERS + 1)), *_LAST)
    # Of names that it does not know it complains, and answers of the others.
    done = _run("inspect", "--type", "container", *(_PREFIX + name for name in names))
    try:
        known = {one["Name"].removeprefix(f"/{_PREFIX}"): one for one in json.loads(done.stdout)}
    except (ValueError, KeyError, TypeError):
        known = {}
    return {name: known[name] for name in names if name in known}


def _state(about: Any) -> ServerState:
    return _STATES.get(about["State"]["Status"], "stopped")


def _is_healthy(about: Any) -> bool:
    health = about["State"].get("Health")
    return _state(about) == "running" and (health is None or health["Status"] == "healthy")


def _leads_to(url: str, about: Any, inside: str) -> bool:
    """Tell whether an address leads to the port of this machine that a container has."""
    if about is None:
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # several servers
        return False
    # Not the ports in use: a container that is stopped has none.
    bound = (about["HostConfig"].get("PortBindings") or {}).get(inside) or []
    ports = {one["HostPort"] for one in bound}
    return host in _HERE and str(port or inside.partition("/")[0]) in ports


def _docker(*arguments: str) -> None:
    done = _run(*arguments)
    if done.returncode != 0:
        said = done.stderr.strip()[-300:] or "it said nothing"
        raise ServerError(
            f"`docker {' '.join(arguments)}` failed ({said}): see `docker ps --all`, then try "
            "again."
        )


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_SECONDS,
        )
    except OSError as error:
        raise ServerError(
            f"The docker program cannot be run ({error.strerror}): install Docker, or use the "
            "course's own servers."
        ) from None
    except subprocess.TimeoutExpired:
        raise ServerError(
            f"`docker {arguments[0]}` has not ended for {_ANSWER_SECONDS} s: see whether Docker "
            "itself runs (`docker info`)."
        ) from None
