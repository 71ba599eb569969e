"""The embedded document server: SecantusDB, which speaks MongoDB's wire protocol over WiredTiger.

It runs as a program of its own (``python -m secantus``), with SCRAM authentication on from the
first moment: its one user is created in the files before it listens.
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
from pymongo.errors import PyMongoError

from helpers.embedded.data_folder import UNFINISHED, Home, Memory, explaining_os_errors, listens
from helpers.embedded.server import Server
from helpers.embedded.server_processes import launch
from helpers.errors import ServerError
from helpers.settings import DATABASE

USER = "shop"

# The file that tells that the user was created.
_READY = "ready"
_SERVER = ("secantus", "--config", "secantusd.toml")

# Reads the user's password from its input, so that no command line holds it. It goes on as the
# server once the directory is in its place, since loading the program a second time takes a second.
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
if sys.stdin.readline() == "serve\\n":  # else the process that starts it has died
    from secantus.cli import main
    os.chdir(sys.argv[1])
    sys.exit(main(sys.argv[3:]))
"""

_CONFIGURATION = """\
[server]
host = "127.0.0.1"
port = {port}
storage_path = "."
auth = true
log_level = "WARNING"

[storage]
cache_size = "128M"
"""

# Read by the storage engine itself. As the server sets it up, an acknowledged write may still be in
# the process's own memory, and is lost when the process is killed: of writes one by one, killed at
# once, none was found afterwards. "none" hands each to the system before it is acknowledged, so
# that it survives the process; "fsync" to the disk, so that it survives a power cut.
# https://source.wiredtiger.com/develop/tune_durability.html
_STORAGE = "transaction_sync=(enabled=true,method={method})\n"


class DocumentServer(Server):
    """The server behind ``MONGO_URL`` when the course runs its own."""

    program = "secantus"
    main_mark = "secantus"

    def __init__(self, home: Home, memory: Memory, *, durable: bool) -> None:
        super().__init__(home, memory, "mongo", home.path / "mongo")
        self.durable = durable
        self._password = home.password(memory, "mongo")
        self._filling = home.path / f"{UNFINISHED}mongo-{secrets.token_hex(4)}"

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
        with explaining_os_errors(self.home.path):
            self._filling.mkdir(mode=0o700)
        self._configure(self._filling)
        server = launch(
            [sys.executable, "-c", _CREATE_USER_AND_SERVE, str(self.directory), *_SERVER],
            directory=self._filling,
            log=self.log,
            stdin=f"{self._password}\n",
            close_stdin=False,
        )
        assert server.stdin is not None
        with server.stdin:
            self._wait_for(server, (self._filling / _READY).exists, "could not be prepared")
            with explaining_os_errors(self.home.path):
                (self._filling / _READY).unlink()
                self._filling.rename(self.directory)
            with contextlib.suppress(BrokenPipeError):
                server.stdin.write(b"serve\n")
                server.stdin.flush()
        self._launched = server

    def spawn(self) -> subprocess.Popen[bytes]:
        self._configure(self.directory)
        return launch(
            [sys.executable, "-m", *_SERVER],
            directory=self.directory,
            log=self.log,
        )

    def _configure(self, directory: Path) -> None:
        # In a file, and a named one: else the server would look for one in the user's home.
        with explaining_os_errors(directory):
            (directory / "secantusd.toml").write_text(_CONFIGURATION.format(port=self.port))
            method = "fsync" if self.durable else "none"
            (directory / "WiredTiger.config").write_text(_STORAGE.format(method=method))

    def answers(self) -> bool:
        if not listens(self.port):  # the driver would try again and again
            return False
        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
            self.url, serverSelectionTimeoutMS=200, connectTimeoutMS=2000, socketTimeoutMS=5000
        )
        try:
            # Only our own server knows our user's random password.
            client.admin.command("listCollections", 1)
        except PyMongoError:
            return False
        finally:
            client.close()
        return True
