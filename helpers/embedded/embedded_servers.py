"""All embedded servers together: start them, recover them after a crash, stop them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from helpers.embedded.cleanup_process import free_shared_memory
from helpers.embedded.data_folder import (
    UNFINISHED,
    DataFolder,
    SavedState,
    explaining_os_errors,
)
from helpers.embedded.mongo_valkey_servers import DocumentServer, ValkeyServer
from helpers.embedded.postgres_server import (
    COORDINATOR,
    InitialData,
    PostgresNode,
    has_citus,
    wheel_bindir,
)
from helpers.embedded.server import Server
from helpers.embedded.server_processes import (
    discard_processes,
    has_lost_directory,
    processes_below,
    processes_in,
    runs,
)
from helpers.embedded.server_watch import watching
from helpers.errors import ServerError
from helpers.settings import Addresses, Settings

#: A function that ``up`` calls when every server answers, with their addresses, the engine
#: (``citus`` or ``postgres_fdw``) and the fingerprint that it returned the last time.
Prepare = Callable[[Addresses, str, str], str]

_PROGRAMS = (PostgresNode.program, DocumentServer.program, ValkeyServer.program)


def ignore_libpq_environment() -> None:
    """Remove libpq's environment variables, such as ``PGSSLMODE``, from this process.

    They are meant for other servers, and some cannot be overridden in a connection string
    (https://www.postgresql.org/docs/current/libpq-envars.html). ``PG_BINDIR`` is the course's.
    """
    for name in [name for name in os.environ if name.startswith("PG") and name[2:3].isalpha()]:
        del os.environ[name]


class EmbeddedServers:
    """The embedded servers in ``settings.data_folder``."""

    def __init__(self, settings: Settings) -> None:
        ignore_libpq_environment()
        self.settings = settings
        self.folder = DataFolder(settings.data_folder)

    def up(self, *, workers: int | None = None, prepare: Prepare | None = None) -> Addresses:
        """Start every server that does not answer, and return the addresses of all.

        ``workers`` is the number of PostgreSQL workers, by default as many as the last time, or 2.
        If a first start was interrupted, it is repeated. A server that crashed recovers its data.

        Raises ``ServerError`` if a server cannot be started; the message has the cause.
        """
        self._end_left_behind()
        with self.folder.locked() as saved:
            self._set_workers_and_engine(saved, workers)
            saved.up = True
            servers = self._servers(saved)
            _check_nodes(servers, saved)
            self.folder.write(saved)
            if not all(server.is_prepared() for server in servers):
                self._remove_unfinished()
            self._start_all(servers)
            addresses = _addresses(servers)
            if prepare is not None:
                saved.prepared = prepare(addresses, saved.engine, saved.prepared)
                self.folder.write(saved)
            return addresses

    def saved_addresses(self) -> Addresses | None:
        """Return the addresses of prepared servers, or ``None``, without a connection to them."""
        saved = self.folder.read()
        return None if saved is None or not saved.prepared else _addresses(self._servers(saved))

    def running(self) -> tuple[Addresses, str] | None:
        """Return the addresses and saved fingerprint, or ``None`` if a server does not answer."""
        saved = self.folder.read()
        if saved is None or not saved.prepared:
            return None
        servers = self._servers(saved)
        with ThreadPoolExecutor(len(servers)) as pool:
            if not all(pool.map(lambda server: server.answers(), servers)):
                return None
        return _addresses(servers), saved.prepared

    def are_up(self) -> bool:
        """Return whether the servers should be running: started, and not stopped since."""
        saved = self.folder.read()
        return saved is not None and saved.up

    def down(self) -> None:
        """Stop every server and keep its data. Servers that do not run stay as they are."""
        self._end_left_behind()
        if self.settings.data_folder.is_dir():
            with self.folder.locked() as saved:
                if saved.up:
                    saved.up = False
                    self.folder.write(saved)
                self._end_all(saved, lambda server: server.stop())

    def reset(self) -> None:
        """Stop every server and delete the data of all of them."""
        self._end_left_behind()
        if self.settings.data_folder.is_dir():
            with self.folder.locked(read=False):
                # Count the directories, since the saved state may be damaged.
                workers = len(list(self.folder.path.glob("postgres/worker*")))
                self._end_all(SavedState(workers=workers), lambda server: server.discard())
                self._remove_unfinished()
                free_shared_memory(self.folder.path)
                self.folder.remove()

    def server(self, name: str) -> Server:
        """Return a server by name: ``coordinator``, ``worker1``, …, ``mongo``, ``redis``.

        Raises ``ServerError`` if there is no such server.
        """
        servers = self._servers(self.folder.read() or SavedState())
        for server in servers:
            if server.name == name:
                return server
        raise ServerError(
            f"There is no server called {name!r}: there are "
            f"{', '.join(server.name for server in servers)}."
        )

    def names(self) -> tuple[str, ...]:
        """Return all names: ``coordinator``, ``worker1``, …, ``mongo``, ``redis``."""
        return tuple(server.name for server in self._servers(self.folder.read() or SavedState()))

    def start(self, *names: str) -> None:
        """Start these servers unless they answer; resume frozen ones. Return when all answer.

        Raises ``ServerError`` if there is no such server, if one cannot be started, or if all
        servers were stopped by ``down``.
        """
        chosen = [self.server(name) for name in names]
        with self.folder.locked() as saved:
            if not saved.up:
                raise ServerError(
                    f"{' and '.join(names)} cannot be started alone, since the servers in "
                    f"{self.folder.path} were stopped: start them with `python -m helpers up`."
                )
            self._start_all(chosen)

    def _set_workers_and_engine(self, saved: SavedState, workers: int | None) -> None:
        """Set the number of workers and the engine, which an existing cluster cannot change."""
        if workers is not None and workers < 1:
            raise ServerError(f"{workers} workers make no cluster: give 1 or more.")
        is_known = saved.engine != ""
        if workers is not None and is_known and workers < saved.workers:
            raise ServerError(
                f"There are {saved.workers} workers, and some may hold the only copy of a shard: "
                "to have fewer, start over with `python -m helpers reset` (this deletes the data)."
            )
        if workers is not None and workers > saved.workers:
            saved.prepared = ""  # the new workers' databases are missing
        saved.workers = workers or saved.workers
        engine = "citus" if has_citus(self._bindir) else "postgres_fdw"
        if is_known and engine != saved.engine:
            raise ServerError(
                f"{self.folder.path} was made for PostgreSQL {_with(saved.engine)}, and the one in "
                f"{self._bindir} is {_with(engine)}: set PG_BINDIR as it was, set SHOP_HOME to "
                "another folder, or start over with `python -m helpers reset` (this deletes its "
                "data)."
            )
        saved.engine = engine

    @property
    def _bindir(self) -> Path:
        return self.settings.pg_bindir or wheel_bindir()

    def _servers(self, saved: SavedState) -> list[Server]:
        durable = self.settings.durable
        nodes = [COORDINATOR, *(f"worker{number}" for number in range(1, saved.workers + 1))]
        return [
            *(
                PostgresNode(self.folder, saved, node, self._bindir, durable=durable)
                for node in nodes
            ),
            DocumentServer(self.folder, saved, durable=durable),
            ValkeyServer(self.folder, saved, durable=durable),
        ]

    def _end_left_behind(self) -> None:
        """End servers whose directory in this data folder was deleted, if no watch has done so."""
        found = []
        for process in processes_below(self.folder.path):
            with contextlib.suppress(psutil.Error):
                if runs(process, *_PROGRAMS) and has_lost_directory(process):
                    found.append(process)
        discard_processes(found)

    def _remove_unfinished(self) -> None:
        """Delete what an interrupted first start left, and end its processes."""
        for folder in (self.folder.path, self.folder.path / "postgres"):
            for entry in folder.glob(f"{UNFINISHED}*"):
                with explaining_os_errors(self.folder.path):
                    if entry.is_dir() and not entry.is_symlink():
                        discard_processes(processes_in(entry, ""))
                        free_shared_memory(entry)
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()

    def _start_all(self, servers: Sequence[Server]) -> None:
        """Start servers at the same time. Raises the error of the first that failed."""
        nodes = [server for server in servers if isinstance(server, PostgresNode)]
        new = [node for node in nodes if not node.is_prepared()]
        initial = InitialData(len(new))
        for node in new:
            node.initial = initial
        with watching() as watch:
            for server in servers:
                server.watch = watch
            with ThreadPoolExecutor(len(servers)) as pool:
                starting = [pool.submit(self._start, server) for server in servers]
        for future in starting:
            future.result()

    @staticmethod
    def _start(server: Server) -> None:
        if not server.is_prepared():
            server.prepare()
        else:
            server.thaw()
            if server.answers():
                return
        server.start()

    def _end_all(self, saved: SavedState, end: Callable[[Server], None]) -> None:
        servers = self._servers(saved)
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(end, servers))


def _check_nodes(servers: Sequence[Server], saved: SavedState) -> None:
    """Refuse a cluster from which some nodes were deleted; a new one replaces a deleted cluster."""
    nodes = [server for server in servers if isinstance(server, PostgresNode)]
    missing = [node for node in nodes if not node.is_prepared()]
    if len(missing) == len(nodes):
        saved.prepared = ""
    elif missing and saved.prepared:
        raise ServerError(
            f"{missing[0].directory} was deleted, and the other nodes of the cluster need its "
            "data: put it back, or start over with `python -m helpers reset` (this deletes the "
            "data of all servers)."
        )


def _addresses(servers: list[Server]) -> Addresses:
    nodes = [server for server in servers if isinstance(server, PostgresNode)]
    mongo = next(server for server in servers if isinstance(server, DocumentServer))
    redis = next(server for server in servers if isinstance(server, ValkeyServer))
    workers = tuple(node.url for node in nodes[1:])
    return Addresses(nodes[0].url, workers, mongo.url, redis.url, embedded=True)


def _with(engine: str) -> str:
    return "with Citus" if engine == "citus" else "without Citus"
