"""Who carries out a drill: our own servers, containers, or nobody, where we reach no process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

from helpers.embedded import EmbeddedServers
from helpers.embedded.server import ServerState
from helpers.errors import SettingsError
from helpers.faults.containers import Containers, find_containers
from helpers.settings import Addresses, Settings, redact

#: The lock below a home while somebody drills its servers.
LOCK = "drill"


class ControlledServers(Protocol):
    """Servers by name, each of which can be stopped, killed, frozen, and brought back.

    All methods raise ``CourseError`` where there is no such server, or it does not obey.
    """

    def names(self) -> Sequence[str]:
        """Return the names of all servers."""

    def meant_to_run(self) -> Sequence[str]:
        """Return the names of those that are to run when a drill is over."""

    def lock(self) -> Path | None:
        """Return the file by whose lock drills exclude one another; ``None``: they need not."""

    def state(self, name: str) -> ServerState:
        """Tell whether a server is running, stopped or frozen."""

    def stop(self, name: str) -> None:
        """Stop a server as its operator does: it may put its things in order."""

    def kill(self, name: str) -> None:
        """End a server as a crash does (SIGKILL)."""

    def freeze(self, name: str) -> None:
        """Let a server hang: it keeps its port and its connections, and says nothing."""

    def thaw(self, name: str) -> None:
        """Let a frozen server go on. Where it is not frozen, nothing happens."""

    def start(self, *names: str) -> None:
        """Bring servers back, whatever was done to them; return when all answer."""

    def described(self) -> dict[str, object]:
        """Return what another process needs to find the same servers, as JSON can hold it."""


class OwnServers:
    """The course's own servers below a home."""

    def __init__(self, servers: EmbeddedServers) -> None:
        self._servers = servers

    def names(self) -> Sequence[str]:
        return self._servers.names()

    def meant_to_run(self) -> Sequence[str]:
        return self._servers.names() if self._servers.are_up() else ()

    def lock(self) -> Path | None:
        return self._servers.folder.path / LOCK

    def state(self, name: str) -> ServerState:
        return self._servers.server(name).state()

    def stop(self, name: str) -> None:
        self._servers.server(name).stop()

    def kill(self, name: str) -> None:
        self._servers.server(name).kill()

    def freeze(self, name: str) -> None:
        self._servers.server(name).freeze()

    def thaw(self, name: str) -> None:
        self._servers.server(name).thaw()

    def start(self, *names: str) -> None:
        self._servers.start(*names)

    def described(self) -> dict[str, object]:
        settings = self._servers.settings
        return {
            "data_folder": str(settings.data_folder),
            "pg_bindir": None if settings.pg_bindir is None else str(settings.pg_bindir),
            "durable": settings.durable,
        }


class ForeignServers:
    """Servers given by address: we reach their ports, and none of their processes."""

    def __init__(self, addresses: Addresses) -> None:
        self._where = redact(addresses.coordinator)

    def names(self) -> Sequence[str]:
        return ()

    def meant_to_run(self) -> Sequence[str]:
        return ()

    def lock(self) -> Path | None:
        return None

    def state(self, name: str) -> NoReturn:
        self._refuse(name)

    def stop(self, name: str) -> NoReturn:
        self._refuse(name)

    def kill(self, name: str) -> NoReturn:
        self._refuse(name)

    def freeze(self, name: str) -> NoReturn:
        self._refuse(name)

    def thaw(self, name: str) -> NoReturn:
        self._refuse(name)

    def start(self, *names: str) -> NoReturn:
        self._refuse(names[0])

    def described(self) -> dict[str, object]:
        return {}

    def _refuse(self, name: str) -> NoReturn:
        raise SettingsError(
            f"{name} is beyond our reach: the servers were given by address ({self._where}), and "
            "are not the containers of docker-compose.yml. There, only slow(), hang() and cut() "
            "are possible, on the way to a store; unset POSTGRES_URL, MONGO_URL and REDIS_URL to "
            "drill the course's own servers."
        )


def find_servers(settings: Settings, addresses: Addresses | None = None) -> ControlledServers:
    """Return who can carry out drills on the servers of ``settings``.

    Raises ``SettingsError`` where ``addresses`` are given and lead elsewhere.
    """
    if settings.addresses is not None:
        return find_containers(addresses or settings.addresses) or ForeignServers(
            addresses or settings.addresses
        )
    servers = EmbeddedServers(settings)
    if addresses is not None:
        port = urlsplit(addresses.coordinator).port
        if port != servers.server("coordinator").port:
            raise SettingsError(
                f"These stores are not those of the servers in {settings.data_folder}: their "
                f"coordinator answers on port {port}. Give the stores that open_shop or "
                "open_lesson returned, not those behind links, or the settings that they were "
                "opened with."
            )
    return OwnServers(servers)


def servers_of(described: dict[str, object]) -> ControlledServers:
    """Return the servers that ``described()`` told of, in another process."""
    if "containers" in described:
        return Containers(described["containers"])  # type: ignore[arg-type]
    bindir = described["pg_bindir"]
    return OwnServers(
        EmbeddedServers(
            Settings(
                Path(str(described["data_folder"])),
                pg_bindir=None if bindir is None else Path(str(bindir)),
                durable=bool(described["durable"]),
            )
        )
    )


def bring_back(servers: ControlledServers) -> None:
    """Bring back every server that is meant to run and is away or frozen.

    Raises ``CourseError`` when one does not come back; the others have then.
    """
    away = [name for name in servers.meant_to_run() if servers.state(name) != "running"]
    if away:
        servers.start(*away)


def restart(servers: ControlledServers, name: str) -> None:
    """Start a server anew: one that runs is stopped before, one that is frozen is killed."""
    state = servers.state(name)
    if state == "running":
        servers.stop(name)
    elif state == "frozen":
        servers.kill(name)
    servers.start(name)
