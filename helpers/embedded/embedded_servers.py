"""All embedded servers together: started once, healed after a crash, stopped without a trace."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers.embedded import server_processes
from helpers.embedded.data_folder import UNFINISHED, Home, Memory, explaining_os_errors
from helpers.embedded.mongo_server import DocumentServer
from helpers.embedded.postgres_server import (
    COORDINATOR,
    InitialData,
    PostgresNode,
    has_citus,
    wheel_bindir,
)
from helpers.embedded.server import Server
from helpers.embedded.valkey_server import ValkeyServer
from helpers.errors import ServerError
from helpers.settings import Addresses, Settings

#: What ``up`` calls once every server answers, with their addresses and how the nodes are joined
#: (``citus`` or ``postgres_fdw``); its answer is remembered and handed to it the next time.
Prepare = Callable[[Addresses, str, str], str]


class EmbeddedServers:
    """The course's own servers below ``settings.home``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = Home(settings.home)

    def up(self, *, workers: int | None = None, prepare: Prepare | None = None) -> Addresses:
        """Start every server that does not answer, and return where they all answer.

        ``workers`` is the number of PostgreSQL workers, by default as many as the last time, or 2.
        A first start that was cut short is begun again; a server that crashed recovers its data.

        Raises ``ServerError`` when a server cannot be started: the message says why.
        """
        with self.home.locked() as memory:
            self._decide(memory, workers)
            memory.up = True
            servers = self._servers(memory)
            self.home.write(memory)
            if not all(server.is_prepared() for server in servers):
                self._remove_unfinished()
            self._start_all(servers)
            addresses = _addresses(servers)
            if prepare is not None:
                memory.prepared = prepare(addresses, memory.engine, memory.prepared)
                self.home.write(memory)
            return addresses

    def running(self) -> tuple[Addresses, str] | None:
        """Return the addresses and what ``prepare`` answered, if every server answers already."""
        memory = self.home.read()
        if memory is None or not memory.prepared:
            return None
        servers = self._servers(memory)
        with ThreadPoolExecutor(len(servers)) as pool:
            if not all(pool.map(lambda server: server.answers(), servers)):
                return None
        return _addresses(servers), memory.prepared

    def are_up(self) -> bool:
        """Tell whether the servers are meant to run: started, and not stopped since."""
        memory = self.home.read()
        return memory is not None and memory.up

    def down(self) -> None:
        """Stop every server. Their data stay; where nothing runs, nothing happens."""
        if self.settings.home.is_dir():
            with self.home.locked() as memory:
                if memory.up:
                    memory.up = False
                    self.home.write(memory)
                self._end_all(memory, lambda server: server.stop())

    def reset(self) -> None:
        """Stop every server and delete the data of all of them."""
        if self.settings.home.is_dir():
            with self.home.locked(read=False):
                # Not what the directory remembers but what is there: it may be damaged.
                workers = len(list(self.home.path.glob("postgres/worker*")))
                self._end_all(Memory(workers=workers), lambda server: server.discard())
                self._remove_unfinished()
                self.home.remove()

    def server(self, name: str) -> Server:
        """Return one server by name: ``coordinator``, ``worker1``, …, ``mongo``, ``redis``.

        Raises ``ServerError`` when there is no such server.
        """
        servers = self._servers(self.home.read() or Memory())
        for server in servers:
            if server.name == name:
                return server
        raise ServerError(
            f"There is no server called {name!r}: there are "
            f"{', '.join(server.name for server in servers)}."
        )

    def names(self) -> tuple[str, ...]:
        """Return all names: ``coordinator``, ``worker1``, …, ``mongo``, ``redis``."""
        return tuple(server.name for server in self._servers(self.home.read() or Memory()))

    def start(self, *names: str) -> None:
        """Start these servers, unless they answer; frozen ones go on. Return when all answer.

        Raises ``ServerError`` when there is no such server, when one cannot be started, and when
        the servers as a whole were stopped (``down``): they are started together.
        """
        chosen = [self.server(name) for name in names]
        with self.home.locked() as memory:
            if not memory.up:
                raise ServerError(
                    f"{' and '.join(names)} cannot be started alone, since the servers in "
                    f"{self.home.path} were stopped: start them with `python -m helpers up`."
                )
            self._start_all(chosen)

    def _decide(self, memory: Memory, workers: int | None) -> None:
        """Settle what is settled once: the number of workers and how the nodes are joined."""
        if workers is not None and workers < 1:
            raise ServerError(f"{workers} workers make no cluster: give 1 or more.")
        known = memory.engine != ""
        if workers is not None and known and workers < memory.workers:
            raise ServerError(
                f"There are {memory.workers} workers, and some may hold the only copy of a shard: "
                "to have fewer, start over with `python -m helpers reset` (this deletes the data)."
            )
        memory.workers = workers or memory.workers
        engine = "citus" if has_citus(self._bindir) else "postgres_fdw"
        if known and engine != memory.engine:
            raise ServerError(
                f"{self.home.path} was made for PostgreSQL {_with(memory.engine)}, and the one in "
                f"{self._bindir} is {_with(engine)}: set PG_BINDIR as it was, set SHOP_HOME to "
                "another folder, or start over with `python -m helpers reset` (this deletes its "
                "data)."
            )
        memory.engine = engine

    @property
    def _bindir(self) -> Path:
        return self.settings.pg_bindir or wheel_bindir()

    def _servers(self, memory: Memory) -> list[Server]:
        durable = self.settings.durable
        nodes = [COORDINATOR, *(f"worker{number}" for number in range(1, memory.workers + 1))]
        return [
            *(
                PostgresNode(self.home, memory, node, self._bindir, durable=durable)
                for node in nodes
            ),
            DocumentServer(self.home, memory, durable=durable),
            ValkeyServer(self.home, memory, durable=durable),
        ]

    def _remove_unfinished(self) -> None:
        """Delete what a first start that was cut short left behind, and end what still fills it."""
        for folder in (self.home.path, self.home.path / "postgres"):
            for entry in folder.glob(f"{UNFINISHED}*"):
                with explaining_os_errors(self.home.path):
                    if entry.is_dir():
                        left = server_processes.find(entry, "")
                        server_processes.stop(left, signal.SIGKILL, seconds=5)
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()

    def _start_all(self, servers: Sequence[Server]) -> None:
        """Start servers at the same time. Raises what the first that failed has raised."""
        nodes = [server for server in servers if isinstance(server, PostgresNode)]
        new = [node for node in nodes if not node.is_prepared()]
        initial = InitialData(len(new))
        for node in new:
            node.initial = initial
        with ThreadPoolExecutor(len(servers)) as pool:
            waiting = [pool.submit(self._start, server) for server in servers]
        for result in waiting:
            result.result()

    @staticmethod
    def _start(server: Server) -> None:
        if not server.is_prepared():
            server.prepare()
        else:
            server.thaw()
            if server.answers():
                return
        server.launch()
        server.wait()

    def _end_all(self, memory: Memory, end: Callable[[Server], None]) -> None:
        servers = self._servers(memory)
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(end, servers))


def _addresses(servers: list[Server]) -> Addresses:
    nodes = [server for server in servers if isinstance(server, PostgresNode)]
    mongo = next(server for server in servers if isinstance(server, DocumentServer))
    redis = next(server for server in servers if isinstance(server, ValkeyServer))
    return Addresses(nodes[0].url, tuple(node.url for node in nodes[1:]), mongo.url, redis.url)


def _with(engine: str) -> str:
    return "with Citus" if engine == "citus" else "without Citus"
