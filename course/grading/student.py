"""The student's process, seen from the grader: run their cells, call their functions.

Nothing that the process sends is believed: replies are plain values, limited in size and time. A
process that ended, or whose replies make no sense, is started again and runs the cells again,
without the one that ended it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from course.grading import wire
from course.grading.channels import ENDED, Channel, StudentEnded, StudentLate
from course.grading.handles import RemoteClients
from course.grading.sandbox import end_sandbox, usage
from course.marketplace.project_databases import PREPARED
from course.marketplace.relays import Relay, open_relays
from helpers.errors import GradingError
from helpers.proxy.upstream import find_target
from helpers.settings import EMBEDDED, Addresses

#: Starts the student's process, given the descriptor of its socket.
Launch = Callable[[int, Sequence[str]], subprocess.Popen[bytes]]

_START_SECONDS = 120.0
_CONNECT_SECONDS = 30.0
_INTERRUPTED_SECONDS = 5.0
_LOOK_SECONDS = 0.3
# Three relays for the tests to count with, two for rivals, and some more.
_MORE_SOCKETS = 8
_MOST_PROCESSES = 256
_MOST_STARTS = 4


@dataclass(frozen=True)
class Limits:
    """The limits of a submission: seconds per cell or test and in total, MiB of memory."""

    cell_seconds: float = 120.0
    notebook_seconds: float = 900.0
    memory_mib: int = 2048


class Student:
    """The student's process. Use it in a ``with`` statement.

    ``launch`` starts it; ``addresses`` are the stores that it may use, through relays, or ``None``.
    """

    def __init__(self, launch: Launch, limits: Limits, addresses: Addresses | None) -> None:
        self._launch, self._limits, self._addresses = launch, limits, addresses
        self.ends_at = time.monotonic() + limits.notebook_seconds
        self.cpu_seconds = 0.0  #: of all its processes that have ended
        self._starts = 0
        self._cells: list[tuple[str, str]] = []
        self._skipped: set[str] = set()
        self._run: _Run | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
            self.cpu_seconds += self._run.cpu_seconds
            self._run = None

    @property
    def clients(self) -> RemoteClients | None:
        """How tests hand stores to the student's functions; ``None`` without stores."""
        return self._started().clients

    def run_cell(self, name: str, code: str) -> None:
        """Run a cell. Raises its exception, ``StudentLate`` or ``StudentEnded``."""
        run = self._started()
        self._cells.append((name, code))
        try:
            run.request({"do": "cell", "name": name, "code": code}, self._deadline())
        except StudentEnded:
            self._skipped.add(name)
            raise
        except StudentLate:
            self._skipped.add(name)  # not again, should the process have to be started again
            raise

    def function(self, name: str, deadline: float) -> Callable[..., Any]:
        """Return a function that calls the student's function ``name``, until ``deadline``."""

        def call(*args: object, **kwargs: object) -> Any:
            return self._started().call(name, args, kwargs, deadline)

        return call

    def forget(self) -> None:
        """Close the connections that were opened for a test, and the forked processes."""
        if self._run is not None:
            with contextlib.suppress(Exception):  # whatever it answers
                self._run.forget(time.monotonic() + _INTERRUPTED_SECONDS)

    def _deadline(self) -> float:
        return min(time.monotonic() + self._limits.cell_seconds, self.ends_at)

    def _started(self) -> _Run:
        if self._run is not None and self._run.ended is None:
            return self._run
        self._close()
        if self._starts == _MOST_STARTS:
            raise StudentEnded(f"ended the process {_MOST_STARTS} times")
        self._starts += 1
        self._run = run = _Run(self._launch, self._limits, self._addresses)
        for name, code in self._cells:
            if name not in self._skipped:
                with contextlib.suppress(StudentLate, wire.WireError, *_ANY):
                    run.request({"do": "cell", "name": name, "code": code}, self._deadline())
        return run


_ANY = (Exception,)


class _Run:
    """One start of the student's process."""

    def __init__(self, launch: Launch, limits: Limits, addresses: Addresses | None) -> None:
        self.ended: str | None = None
        self.cpu_seconds = 0.0
        self._killing = threading.Lock()
        self._limits = limits
        self._lock = threading.Lock()
        self._active = 0
        self._turns = itertools.count()
        self._twin: Channel | None = None
        ours, theirs = socket.socketpair()
        urls = [] if addresses is None else _urls(addresses)
        count = len(urls) + _MORE_SOCKETS if urls else 0
        with theirs:
            self._process = launch(theirs.fileno(), [str(theirs.fileno()), str(count)])
        self._relays: list[Relay] = []
        self._sockets: list[socket.socket] = []
        self.clients: RemoteClients | None = None
        try:
            ours.settimeout(_START_SECONDS)
            ports = wire.receive(ours)["ports"]
            _, descriptors, _, _ = socket.recv_fds(ours, 1, max(count, 1))
            if len(descriptors) != len(ports):
                raise ValueError
            self._sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            environ = {} if addresses is None else self._environ(addresses, urls)
            wire.send(ours, {"environ": environ})
            wire.receive(ours)
            ours.settimeout(None)
        except (OSError, EOFError, ValueError, KeyError, wire.WireError) as error:
            self.kill()
            raise GradingError(
                f"The student's process did not start ({type(error).__name__}): grade again."
            ) from None
        self._main = Channel(ours, self._end)
        threading.Thread(target=self._watch, daemon=True).start()

    def _environ(self, addresses: Addresses, urls: Sequence[str]) -> dict[str, str]:
        self._relays = [self._relay(url) for url in urls]
        coordinator, *workers, mongo, redis = (relay.url for relay in self._relays)
        through = replace(
            addresses,
            coordinator=coordinator,
            workers=tuple(workers),
            mongo=mongo,
            redis=redis,
            worker_names=addresses.worker_names
            or tuple((find_target(url).host, find_target(url).port) for url in addresses.workers),
        )
        self.clients = RemoteClients(through, self._relay, self._fork, self._connection)
        return environ_of(through)

    def _relay(self, address: str) -> Relay:
        used = {relay.port for relay in open_relays}
        free = (one for one in self._sockets if one.getsockname()[1] not in used)
        return Relay(address, next(free).dup())

    def request(self, request: dict[str, Any], deadline: float) -> Any:
        """Carry out a request in the main thread and return its value.

        Raises the student's exception, ``StudentLate``, ``StudentEnded``, or ``WireError`` if the
        value cannot be passed on.
        """
        return self._ask(self._main, request, deadline)

    def call(
        self, name: str, args: Sequence[object], kwargs: Mapping[str, object], deadline: float
    ) -> Any:
        """Call a function; a call during another one runs in a fork of the process."""
        handle = None if self.clients is None else self.clients.handle_of
        request = {
            "do": "call",
            "function": name,
            "args": wire.encode(list(args), handle),
            "kwargs": wire.encode(dict(kwargs), handle),
        }
        with self._lock:
            channels = [self._main] if self._twin is None else [self._main, self._twin]
            channel = next((one for one in channels if not one.busy), None)
            threaded = channel is None
            channel = channel or channels[next(self._turns) % len(channels)]
            channel.busy = True
        try:
            return self._ask(channel, {**request, "thread": threaded}, deadline)
        except wire.WireError as error:
            raise wire.WireError(f"{name}() cannot be checked: {error}") from None
        finally:
            if not threaded:
                channel.busy = False

    def forget(self, deadline: float) -> None:
        """Close the connections that were opened for a test, and end the forked process."""
        if self._twin is not None:
            self._twin.close()
            self._twin = None
        self.request({"do": "forget"}, deadline)

    def _fork(self) -> None:
        if self._twin is None:
            ours, theirs = socket.socketpair()
            with theirs:
                deadline = time.monotonic() + _START_SECONDS
                self._ask(self._main, {"do": "twin"}, deadline, theirs.fileno())
            self._twin = Channel(ours, lambda _: None)

    def _connection(self, do: str, handle: dict[str, Any]) -> None:
        self.request({"do": do, "handle": handle}, time.monotonic() + _CONNECT_SECONDS)

    def _ask(
        self,
        channel: Channel,
        request: dict[str, Any],
        deadline: float,
        descriptor: int | None = None,
    ) -> Any:
        with self._flowing():
            number = channel.send(request, descriptor)
            try:
                reply = channel.reply(number, deadline)
            except TimeoutError:
                self._stop(channel, number)
                raise StudentLate("ran for too long and was stopped") from None
            except EOFError:
                raise StudentEnded(self.ended or "ended a forked process") from None
            finally:
                channel.done(number)
        if "value" in reply:
            return wire.decode(reply["value"])
        if "refused" in reply:
            raise wire.WireError(wire.clean(reply["refused"], 200))
        raise wire.rebuild_error(reply.get("error"))

    def _stop(self, channel: Channel, number: int) -> None:
        """Interrupt a request; end the process if it goes on."""
        interrupt = channel.send({"do": "interrupt"})
        try:
            channel.reply(number, time.monotonic() + _INTERRUPTED_SECONDS)
        except (TimeoutError, EOFError):
            self._end("ran for too long and did not let itself be interrupted")
            self.kill()
        finally:
            channel.done(interrupt)

    @contextlib.contextmanager
    def _flowing(self) -> Iterator[None]:
        """Let data pass to and from the stores; between requests, none does."""
        with self._lock:
            self._active += 1
            if self._active == 1:
                for relay in self._relays:
                    relay.restore()
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                if self._active == 0:
                    for relay in self._relays:
                        relay.freeze()

    def _end(self, why: str) -> None:
        self.ended = self.ended or why

    def _watch(self) -> None:
        limit = self._limits.memory_mib
        while self.ended is None:
            time.sleep(_LOOK_SECONDS)
            used, processes = usage(self._process.pid)
            if used > limit * 2**20:
                self._end(f"took more than {limit} MiB of memory")
            if processes > _MOST_PROCESSES:
                self._end(f"started more than {_MOST_PROCESSES} processes")
        self.kill()

    def kill(self) -> None:
        """End the process and everything that it started."""
        self._end(ENDED)
        with self._killing:
            self.cpu_seconds += end_sandbox(self._process)

    def close(self) -> None:
        """End the process and close the relays."""
        self.kill()
        self._main.close()
        if self._twin is not None:
            self._twin.close()
        for relay in self._relays:
            relay.close()
        for listener in self._sockets:
            listener.close()


def environ_of(addresses: Addresses) -> dict[str, str]:
    """Return the environment that ``load_settings`` reads these addresses from."""
    names = " ".join(f"{host}:{port}" for host, port in addresses.worker_names)
    return {
        "POSTGRES_URL": addresses.coordinator,
        "POSTGRES_WORKER_URLS": " ".join(addresses.workers),
        "POSTGRES_WORKER_NAMES": names,
        "MONGO_URL": addresses.mongo,
        "REDIS_URL": addresses.redis,
        EMBEDDED: "1" if addresses.embedded else "",
        PREPARED: os.environ.get(PREPARED, ""),
    }


def _urls(addresses: Addresses) -> list[str]:
    return [addresses.coordinator, *addresses.workers, addresses.mongo, addresses.redis]
