"""The one directory in which the embedded servers live: its layout, its lock, what it remembers.

::

    .shop/                 only its owner may enter
    ├── lock               held while servers are started or stopped
    ├── servers.json       format, engine, ports and passwords, readable by the owner alone
    ├── log/               one log per server
    ├── postgres/          passfile, coordinator/, worker1/, worker2/, …
    ├── mongo/             the document server's files
    └── redis/             the key-value server's files
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import filelock

from helpers.errors import ServerError

#: Version of this layout. A directory of another version is refused, not guessed at.
FORMAT = 1

#: How the names of data directories begin while they are being filled.
UNFINISHED = "new-"

#: Name of a server that is thrown away after use, in a home of its own.
SPARE = "spare"

# Below the range from which systems take the ports of outgoing connections (32768 on Linux,
# 49152 on macOS), so that a remembered port is not taken by somebody's browser after a reboot.
_PORTS = range(31000, 32000)
# Not among those that are remembered: a spare server must not take the port of one that is down.
_SPARE_PORTS = range(32000, 32768)
_COORDINATOR_PORTS = range(20000, 22000)
# Citus deals shards to the workers in order of their ports: so each next worker gets a higher one,
# and a shard is on the same worker on every machine.
_FIRST_WORKER_PORT, _PORTS_PER_WORKER = 22000, 300
_MOST_WORKERS = (31000 - _FIRST_WORKER_PORT) // _PORTS_PER_WORKER

_LOCK_SECONDS = 120


@dataclass
class Memory:
    """What the directory remembers between starts.

    ``up`` tells whether the servers are meant to run, ``workers`` is the number of workers,
    ``engine`` how the nodes are joined (``citus`` or ``postgres_fdw``), ``prepared`` a fingerprint
    of what was loaded into the shop's database.
    """

    format: int = FORMAT
    up: bool = False
    workers: int = 2
    engine: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    prepared: str = ""


class Home:
    """The data directory at ``path``. Nothing is created before ``locked()`` is entered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        self._file = path / "servers.json"
        self._is_locked = False
        self._reserved: list[socket.socket] = []

    @contextlib.contextmanager
    def locked(self, *, read: bool = True) -> Iterator[Memory]:
        """Hold the directory's lock, creating the directory if need be; yield what it remembers.

        With ``read`` off, what it remembers is left unread, since it may be damaged.

        A process that dies lets go of the lock. Raises ``ServerError`` when the directory cannot
        be written, is of another version, or is held by another process for two minutes.
        """
        with explaining_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            # PostgreSQL's own account must pass through to its files when we are root.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            lock = filelock.FileLock(self.path / "lock", timeout=_LOCK_SECONDS, mode=0o600)
            try:
                lock.acquire()
            except filelock.Timeout:
                raise ServerError(
                    f"{self.path} is held by another process that has been starting or stopping "
                    f"servers for {_LOCK_SECONDS} s: wait for it, or end it."
                ) from None
        try:
            with explaining_os_errors(self.path):
                self.log.mkdir(mode=0o700, exist_ok=True)
                if not self._file.exists():
                    self._refuse_foreign_files()
                memory = (self.read() if read else None) or Memory()
            self._is_locked = True
            yield memory
        finally:
            self._is_locked = False
            while self._reserved:
                self._reserved.pop().close()
            lock.release()

    def read(self) -> Memory | None:
        """Return what the directory remembers, or ``None`` when it is not there yet."""
        try:
            with explaining_os_errors(self.path):
                known = json.loads(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise ServerError(f"{self._file} is damaged. {self._start_over}") from None
        if (
            not isinstance(known, dict)
            or known.get("format") != FORMAT
            or set(known) - {one.name for one in fields(Memory)}
        ):
            raise ServerError(
                f"{self.path} was made by another version of this course. {self._start_over}"
            )
        return Memory(**known)

    def write(self, memory: Memory) -> None:
        """Replace what the directory remembers, in one step that survives a power cut."""
        with explaining_os_errors(self.path):
            new = self._file.with_suffix(".new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(memory), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)

    def remove(self) -> None:
        """Delete the directory's contents, the lock file apart, which others may be waiting for."""
        with explaining_os_errors(self.path):
            # What the directory remembers goes last: a removal cut short can be repeated.
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry == self._file):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != "lock":
                    entry.unlink()

    def port(self, memory: Memory, server: str) -> int:
        """Return the port remembered for ``server``, choosing a free one the first time."""
        if server not in memory.ports:
            taken = set(memory.ports.values())
            range_ = _ports_for(server)
            candidates = random.SystemRandom().sample(range_, len(range_))
            free = (port for port in candidates if port not in taken and self._reserve(port))
            port = next(free, None)
            if port is None:
                raise ServerError(
                    f"{server} cannot start: every port from {range_[0]} to {range_[-1]} is in "
                    "use. Stop other programs."
                )
            memory.ports[server] = port
        return memory.ports[server]

    def _reserve(self, port: int) -> bool:
        """Return whether ``port`` is free. While the directory is locked, no other home gets it.

        A server is ready to listen only seconds after its port was chosen.
        """
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            held.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            return False
        if self._is_locked and sys.platform.startswith("linux"):
            # Linux lets a server listen beside a bound socket if both have this option. The next
            # one who reserves a port has not set it yet, and is refused.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.append(held)
        else:
            held.close()
        return True

    @staticmethod
    def password(memory: Memory, store: str) -> str:
        """Return the password remembered for ``store``, generating it the first time."""
        return memory.passwords.setdefault(store, secrets.token_urlsafe(24))

    @property
    def _start_over(self) -> str:
        return (
            "Start over with `python -m helpers reset` (this deletes its data), or set SHOP_HOME "
            "to another folder."
        )

    def _refuse_foreign_files(self) -> None:
        """Refuse a folder that holds something else: ``reset`` would delete it."""
        others = {entry.name for entry in self.path.iterdir()} - {"lock", "log", "servers.new"}
        if others:
            raise ServerError(
                f"{self.path} holds other files ({', '.join(sorted(others)[:3])}) and was not made "
                "by this course: set SHOP_HOME to a folder of its own, or empty this one."
            )


def _ports_for(server: str) -> range:
    if server == "coordinator":
        return _COORDINATOR_PORTS
    if server == SPARE:
        return _SPARE_PORTS
    if not server.startswith("worker"):
        return _PORTS
    number = int(server.removeprefix("worker"))
    if number > _MOST_WORKERS:
        raise ServerError(f"{number} workers are too many: give {_MOST_WORKERS} or fewer.")
    first = _FIRST_WORKER_PORT + (number - 1) * _PORTS_PER_WORKER
    return range(first, first + _PORTS_PER_WORKER)


def is_free(port: int) -> bool:
    """Tell whether nobody listens on ``port`` of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Tell whether a program accepts connections on ``port`` of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def explaining_os_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses below ``path`` into a sentence (missing files pass)."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            cause, way_out = "the disk is full", "Free some space"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            cause, way_out = "it may not be written by this user", "Change its permissions"
        else:
            cause, way_out = (error.strerror or str(error)).lower(), "Look at that folder"
        raise ServerError(
            f"{path} cannot be used: {cause}. {way_out}, or set SHOP_HOME to another folder."
        ) from error
