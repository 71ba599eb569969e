"""Control the containers of docker-compose.yml with the ``docker`` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_LOCAL_HOSTS = {"127.0.0.1", "localhost", "::1"}

_COMMAND_SECONDS = 60
_START_SECONDS = 120
_POLL_SECONDS = 0.2
# The container states in which its processes exist.
_STATES: Mapping[str, ServerState] = {"running": "running", "paused": "frozen"}


@dataclass(frozen=True)
class Container:
    """The container of one server, called as the service is."""

    name: str

    def state(self) -> ServerState:
        return _state(self.about())

    def stop(self) -> None:
        self.thaw()  # a paused container cannot be stopped
        self._run_if("running", "stop")

    def kill(self) -> None:
        if self.state() != "stopped":
            _docker("kill", _PREFIX + self.name)

    def freeze(self) -> None:
        self._run_if("running", "pause")

    def thaw(self) -> None:
        self._run_if("frozen", "unpause")

    def start(self) -> None:
        self.thaw()
        self._run_if("stopped", "start")

    def about(self) -> Any:
        """Return Docker's description of the container. Raises ``ServerError``."""
        found = _inspect()
        if self.name not in found:
            raise ServerError(
                f"There is no server called {self.name!r}: docker has "
                f"{', '.join(found) or 'none'}. Start the containers with `make docker-up`."
            )
        return found[self.name]

    def _run_if(self, state: ServerState, command: str) -> None:
        if self.state() == state:
            _docker(command, _PREFIX + self.name)


class ControlledContainers:
    """The servers in containers.

    ``running`` are the names of those that must run after fault injection.
    """

    def __init__(self, running: Sequence[str]) -> None:
        self._running = tuple(running)

    def names(self) -> Sequence[str]:
        return tuple(_inspect())

    def meant_to_run(self) -> Sequence[str]:
        return self._running

    def lock(self) -> Path | None:
        return Path(tempfile.gettempdir()) / f"course-faults-{os.getuid()}"

    def server(self, name: str) -> Container:
        return Container(name)

    def start(self, *names: str) -> None:
        containers = [Container(name) for name in names]
        for container in containers:
            container.start()
        deadline = time.monotonic() + _START_SECONDS
        for container in containers:
            while not _is_healthy(container.about()):
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"Container {_PREFIX}{container.name} is not healthy after "
                        f"{_START_SECONDS} s: see `docker logs {_PREFIX}{container.name}`."
                    )
                time.sleep(_POLL_SECONDS)

    def described(self) -> dict[str, object]:
        return {"containers": list(self._running)}


def find_containers(addresses: Addresses) -> ControlledContainers | None:
    """Return the containers of docker-compose.yml; ``None`` if the addresses lead elsewhere."""
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
    return ControlledContainers(
        [name for name, about in found.items() if _state(about) != "stopped"]
    )


def _inspect() -> dict[str, Any]:
    """Return Docker's description of each container, by the name of its server."""
    names = (*_FIRST, *(f"worker{number}" for number in range(1, _MOST_WORKERS + 1)), *_LAST)
    # docker reports an error for unknown names, and still describes the others.
    done = _run("inspect", "--type", "container", *(_PREFIX + name for name in names))
    try:
        known = {
            container["Name"].removeprefix(f"/{_PREFIX}"): container
            for container in json.loads(done.stdout)
        }
    except (ValueError, KeyError, TypeError):
        known = {}
    return {name: known[name] for name in names if name in known}


def _state(about: Any) -> ServerState:
    return _STATES.get(about["State"]["Status"], "stopped")


def _is_healthy(about: Any) -> bool:
    health = about["State"].get("Health")
    return _state(about) == "running" and (health is None or health["Status"] == "healthy")


def _leads_to(url: str, about: Any, inside: str) -> bool:
    """Return whether an address leads to a container's published port on this machine."""
    if about is None:
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # several servers
        return False
    # The configured ports: a stopped container has no ports in use.
    bound = (about["HostConfig"].get("PortBindings") or {}).get(inside) or []
    ports = {binding["HostPort"] for binding in bound}
    return host in _LOCAL_HOSTS and str(port or inside.partition("/")[0]) in ports


def _docker(*arguments: str) -> None:
    done = _run(*arguments)
    if done.returncode != 0:
        message = done.stderr.strip()[-300:] or "no error message"
        raise ServerError(
            f"`docker {' '.join(arguments)}` failed ({message}): see `docker ps --all`, then try "
            "again."
        )


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
    except OSError as error:
        raise ServerError(
            f"The docker command cannot be run ({error.strerror}): install Docker, or use the "
            "embedded servers."
        ) from None
    except subprocess.TimeoutExpired:
        raise ServerError(
            f"`docker {arguments[0]}` did not finish in {_COMMAND_SECONDS} s: check that Docker "
            "itself is running (`docker info`)."
        ) from None
