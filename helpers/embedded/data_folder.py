"""The data folder of the embedded servers: its layout, its lock, and the state saved in it.

::

    .shop/                 only its owner may enter
    ├── lock               held while servers are started or stopped
    ├── servers.json       format, engine, ports and passwords, readable by the owner only
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
import pwd
import random
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from helpers.embedded.private_files import create_folder, locked_file, read_file, write_file
from helpers.errors import ServerError

#: Version of this layout. A folder of another version is refused.
FORMAT = 1

#: Prefix of data directories that are still being filled.
UNFINISHED = "new-"

#: Name of a temporary server, which has a separate data folder.
TEMPORARY = "temporary"

# Below the range that systems use for outgoing connections (32768 on Linux, 49152 on macOS), so
# that no other program's connection has a saved port after a reboot.
_PORTS = range(31000, 32000)
# Apart from saved ports: a temporary server must not take the port of a server that is stopped.
_TEMPORARY_PORTS = range(32000, 32768)
_COORDINATOR_PORTS = range(20000, 22000)
# Citus places shards on the workers in order of their ports. Each next worker gets a higher port,
# so that a shard is on the same worker on every machine.
_FIRST_WORKER_PORT, _PORTS_PER_WORKER = 22000, 300
_MOST_WORKERS = (31000 - _FIRST_WORKER_PORT) // _PORTS_PER_WORKER

_LOCK_SECONDS = 120

# Errors of files that are opened without following links, and of folders.
_WRONG_KIND = {errno.ELOOP, errno.ENXIO, errno.EEXIST, errno.EISDIR}

# What is in a data folder: files, and the servers' data.
_OURS = {"lock", "log", "faults.lock"}
_DATA = {"postgres", "mongo", "redis"}


@dataclass
class SavedState:
    """The contents of ``servers.json``.

    ``up`` is whether the servers should be running, ``workers`` the number of workers, ``engine``
    how the nodes are joined (``citus`` or ``postgres_fdw``), ``prepared`` the fingerprint of what
    was loaded into the shop's database.
    """

    format: int = FORMAT
    up: bool = False
    workers: int = 2
    engine: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    prepared: str = ""


class DataFolder:
    """The data folder at ``path``. Nothing is created before ``locked()`` is entered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        self.file = path / "servers.json"
        self._is_locked = False
        self._reserved: list[socket.socket] = []

    @contextlib.contextmanager
    def locked(self, *, read: bool = True) -> Iterator[SavedState]:
        """Hold the folder's lock and yield the saved state; create the folder if necessary.

        With ``read=False`` the state is not read, because the file may be damaged.

        The system releases the lock if the process dies. Raises ``ServerError`` if the folder
        cannot be written, belongs to another user, has another version, is deleted in the meantime,
        or another process holds the lock for two minutes.
        """
        with contextlib.ExitStack() as lock:
            with explaining_os_errors(self.path):
                self._create()
                if read:
                    self._refuse_other_owner()
                # As root, PostgreSQL runs as another user, who must reach its files.
                self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
                try:
                    lock.enter_context(locked_file(self.path / "lock", wait_seconds=_LOCK_SECONDS))
                except TimeoutError:
                    raise ServerError(
                        f"{self.path} is locked by another process that has been starting or "
                        f"stopping servers for {_LOCK_SECONDS} s: wait for it, or end it."
                    ) from None
                create_folder(self.log)
                if read and not self.file.exists():
                    self._refuse_data_without_state()
                saved = (self.read() if read else None) or SavedState()
            self._is_locked = True
            try:
                yield saved
            except FileNotFoundError:
                if self.file.exists():
                    raise
                raise ServerError(
                    f"{self.path} was deleted or moved while its servers were starting: try again."
                ) from None
            finally:
                self._is_locked = False
                while self._reserved:
                    self._reserved.pop().close()

    def _create(self) -> None:
        """Create the folder, or refuse that of another program before anything in it changes."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:
            raise ServerError(
                f"{self.path} cannot be created: the folder above it allows no new ones. Set "
                "SHOP_HOME to another folder."
            ) from None
        self.refuse_foreign_files()

    def read(self) -> SavedState | None:
        """Return the saved state, or ``None`` if there is none yet.

        Raises ``ServerError`` if the file is damaged or has another version.
        """
        try:
            with explaining_os_errors(self.path):
                values = json.loads(read_file(self.file))
        except FileNotFoundError:
            return None
        except ValueError:
            raise ServerError(f"{self.file} is damaged. {self._start_over}") from None
        if (
            not isinstance(values, dict)
            or values.get("format") != FORMAT
            or set(values) - {known.name for known in fields(SavedState)}
        ):
            raise ServerError(
                f"{self.path} was made by another version of this course. {self._start_over}"
            )
        return SavedState(**values)

    def write(self, saved: SavedState) -> None:
        """Replace the saved state atomically; it survives a power failure."""
        with explaining_os_errors(self.path):
            write_file(self.file, json.dumps(asdict(saved), indent=1), sync=True)

    def remove(self) -> None:
        """Delete the folder's contents except the lock file: other processes may wait for it."""
        with explaining_os_errors(self.path):
            # The saved state is deleted last, so that an interrupted removal can be repeated.
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry == self.file):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != "lock":
                    entry.unlink()

    def port(self, saved: SavedState, server: str) -> int:
        """Return the port saved for ``server``; choose a free one the first time."""
        if server not in saved.ports:
            taken = set(saved.ports.values())
            range_ = _ports_for(server)
            candidates = random.SystemRandom().sample(range_, len(range_))
            free = (port for port in candidates if port not in taken and self._reserve(port))
            port = next(free, None)
            if port is None:
                raise ServerError(
                    f"{server} cannot start: every port from {range_[0]} to {range_[-1]} is in "
                    "use. Stop other programs."
                )
            saved.ports[server] = port
        return saved.ports[server]

    def _reserve(self, port: int) -> bool:
        """Return whether ``port`` is free, and reserve it while this data folder is locked.

        A server starts to listen only seconds after its port was chosen; meanwhile, another data
        folder must not choose the same port.
        """
        reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            reservation.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            return False
        if self._is_locked and sys.platform.startswith("linux"):
            # With this option on both sockets, Linux lets the server listen on a port to which
            # another socket is bound. A second reservation does not have it yet, and fails.
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.append(reservation)
        else:
            reservation.close()
        return True

    @staticmethod
    def password(saved: SavedState, store: str) -> str:
        """Return the password saved for ``store``; generate it the first time."""
        return saved.passwords.setdefault(store, secrets.token_urlsafe(24))

    @property
    def _start_over(self) -> str:
        return (
            "Start over with `python -m helpers reset` (this deletes its data), or set SHOP_HOME "
            "to another folder."
        )

    def refuse_foreign_files(self) -> None:
        """Refuse a folder with files of other programs, since ``reset`` would delete them.

        Raises ``ServerError``.
        """
        names = {entry.name for entry in self.path.iterdir()}
        others = names - _OURS
        if "lock" in names:  # others may call the data of their servers by these names too
            others -= _DATA
        if others and not self.file.exists():
            raise ServerError(
                f"{self.path} holds other files ({', '.join(sorted(others)[:3])}) and was not made "
                "by this course: set SHOP_HOME to another folder, or empty this one."
            )

    def _refuse_other_owner(self) -> None:
        """Refuse a folder of another user: files of root, for example, would lock the owner out."""
        if self.file.exists() and (owner := self.file.stat().st_uid) != os.geteuid():
            raise ServerError(
                f"{self.path} belongs to the user {_user_name(owner)}: run this as that user (not "
                "with sudo), or set SHOP_HOME to another folder."
            )

    def _refuse_data_without_state(self) -> None:
        """Refuse a folder that has the servers' data but no saved state."""
        if any((self.path / name).exists() for name in _DATA):
            raise ServerError(
                f"{self.file} was deleted, and with it the ports and passwords of the servers' "
                f"data. Put it back. {self._start_over}"
            )


def _ports_for(server: str) -> range:
    if server == "coordinator":
        return _COORDINATOR_PORTS
    if server == TEMPORARY:
        return _TEMPORARY_PORTS
    if not server.startswith("worker"):
        return _PORTS
    number = int(server.removeprefix("worker"))
    if number > _MOST_WORKERS:
        raise ServerError(f"{number} workers are too many: give {_MOST_WORKERS} or fewer.")
    first = _FIRST_WORKER_PORT + (number - 1) * _PORTS_PER_WORKER
    return range(first, first + _PORTS_PER_WORKER)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def is_free(port: int) -> bool:
    """Return whether no program listens on ``port`` of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Return whether a program accepts connections on ``port`` of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_same_folder(path: object, folder: Path) -> bool:
    """Return whether ``path`` exists and is ``folder``, also under another name."""
    with contextlib.suppress(OSError):
        return isinstance(path, str) and folder.samefile(path)
    return False


@contextlib.contextmanager
def explaining_os_errors(path: Path) -> Iterator[None]:
    """Raise a ``ServerError`` that explains an ``OSError`` below ``path``.

    ``FileNotFoundError`` and ``TimeoutError`` are raised unchanged.
    """
    try:
        yield
    except (FileNotFoundError, TimeoutError):
        raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            cause, way_out = "the disk is full", "Free some space"
        elif error.errno in _WRONG_KIND and error.filename:
            cause = f"{error.filename} is a link, has a second name or is of the wrong kind"
            way_out = "Delete it"
        elif error.errno == errno.ENOTDIR and error.filename:
            cause = f"{error.filename}, or a part of its path, is a file or a link, not a folder"
            way_out = "Move that away"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            cause, way_out = "it may not be written by this user", "Change its permissions"
        else:
            cause, way_out = (error.strerror or str(error)).lower(), "Look at that folder"
        raise ServerError(
            f"{path} cannot be used: {cause}. {way_out}, or set SHOP_HOME to another folder."
        ) from error
