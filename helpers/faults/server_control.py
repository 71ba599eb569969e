"""Control servers by name: embedded servers, containers, or none if they are given by address."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

from helpers.embedded import EmbeddedServers
from helpers.embedded.server import ServerState
from helpers.errors import SettingsError
from helpers.faults.containers import ControlledContainers, find_containers
from helpers.settings import Addresses, Settings, redact

#: The lock file in a data folder while faults are injected into its servers.
LOCK = "faults.lock"


class ControlledServer(Protocol):
    """One server. All methods raise ``CourseError`` if that fails."""

    def state(self) -> ServerState:
        """Return whether the server is running, stopped or frozen."""

    def stop(self) -> None:
        """Shut the server down cleanly."""

    def kill(self) -> None:
        """Kill the server (SIGKILL), as a crash does."""

    def freeze(self) -> None:
        """Freeze the server: it keeps its port and connections, but does not respond."""

    def thaw(self) -> None:
        """Resume the server if it is frozen."""


class ControlledServers(Protocol):
    """Servers that can be stopped, killed, frozen and restored by name."""

    def names(self) -> Sequence[str]:
        """Return the names of all servers."""

    def meant_to_run(self) -> Sequence[str]:
        """Return the names of the servers that must run after fault injection."""

    def lock(self) -> Path | None:
        """Return the file to lock while injecting faults; ``None`` if there is nothing to lock."""

    def server(self, name: str) -> ControlledServer:
        """Return a server. Raises ``CourseError`` if it cannot be controlled."""

    def start(self, *names: str) -> None:
        """Start or resume servers, and return when all respond. Raises ``CourseError``."""

    def described(self) -> dict[str, object]:
        """Return a JSON-compatible description from which ``servers_of`` finds the servers."""


class ControlledEmbeddedServers:
    """The embedded servers of one data folder."""

    def __init__(self, servers: EmbeddedServers) -> None:
        self._servers = servers

    def names(self) -> Sequence[str]:
        return self._servers.names()

    def meant_to_run(self) -> Sequence[str]:
        return self._servers.names() if self._servers.are_up() else ()

    def lock(self) -> Path | None:
        return self._servers.folder.path / LOCK

    def server(self, name: str) -> ControlledServer:
        return self._servers.server(name)

    def start(self, *names: str) -> None:
        self._servers.start(*names)

    def described(self) -> dict[str, object]:
        settings = self._servers.settings
        return {
            "data_folder": str(settings.data_folder),
            "pg_bindir": None if settings.pg_bindir is None else str(settings.pg_bindir),
            "durable": settings.durable,
        }


class UncontrolledServers:
    """Servers given by address: their ports are reachable, their processes are not."""

    def __init__(self, addresses: Addresses) -> None:
        self._address = redact(addresses.coordinator)

    def names(self) -> Sequence[str]:
        return ()

    def meant_to_run(self) -> Sequence[str]:
        return ()

    def lock(self) -> Path | None:
        return None

    def server(self, name: str) -> NoReturn:
        self._refuse(name)

    def start(self, *names: str) -> NoReturn:
        self._refuse(names[0])

    def described(self) -> dict[str, object]:
        return {}

    def _refuse(self, name: str) -> NoReturn:
        raise SettingsError(
            f"{name} cannot be controlled: the servers were given by address ({self._address}) and "
            "are not the containers of docker-compose.yml. Only slow(), hang() and cut() work, on "
            "the connections to a store; unset POSTGRES_URL, MONGO_URL and REDIS_URL to use the "
            "embedded servers."
        )


def find_servers(settings: Settings, addresses: Addresses | None = None) -> ControlledServers:
    """Return the means to control the servers of ``settings``.

    Raises ``SettingsError`` if ``addresses`` are given and belong to other servers.
    """
    if settings.addresses is not None:
        return find_containers(addresses or settings.addresses) or UncontrolledServers(
            addresses or settings.addresses
        )
    servers = EmbeddedServers(settings)
    if addresses is not None:
        port = urlsplit(addresses.coordinator).port
        if port != servers.server("coordinator").port:
            raise SettingsError(
                f"These stores do not belong to the servers in {settings.data_folder}: their "
                f"coordinator listens on port {port}. Give the stores that open_shop or "
                "open_lesson returned, not proxied ones, or the settings they were opened with."
            )
    return ControlledEmbeddedServers(servers)


def servers_of(described: dict[str, object]) -> ControlledServers:
    """Return the servers that ``described()`` described, in another process."""
    if "containers" in described:
        return ControlledContainers(described["containers"])  # type: ignore[arg-type]
    bindir = described["pg_bindir"]
    return ControlledEmbeddedServers(
        EmbeddedServers(
            Settings(
                Path(str(described["data_folder"])),
                pg_bindir=None if bindir is None else Path(str(bindir)),
                durable=bool(described["durable"]),
            )
        )
    )


def restore_servers(servers: ControlledServers) -> None:
    """Start every server that is meant to run and is stopped or frozen.

    Raises ``CourseError`` if one does not start, after starting the others.
    """
    unavailable = [
        name for name in servers.meant_to_run() if servers.server(name).state() != "running"
    ]
    if unavailable:
        servers.start(*unavailable)


def restart(servers: ControlledServers, name: str) -> None:
    """Restart a server: stop it first if it is running, kill it first if it is frozen."""
    server = servers.server(name)
    match server.state():
        case "running":
            server.stop()
        case "frozen":
            server.kill()
    servers.start(name)
