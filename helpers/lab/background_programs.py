"""Run the service and the order worker in the background, each in a separate process."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.embedded.temporary_servers import temporary_folder
from helpers.errors import ServerError
from helpers.orders.order_worker import RELAY_READY
from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.environment import environment_of

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
#: The beginning of the line that ``python -m helpers serve`` prints when it is ready.
_SERVE_READY = "The shop is at "


@dataclass(frozen=True)
class ServiceProcess:
    """A running service.

    ``url`` is its address without a trailing slash, ``token`` authorizes writes, ``log`` is its log
    file, and ``pid`` its process.
    """

    url: str
    token: str = field(repr=False)
    log: Path
    pid: int

    @property
    def write_headers(self) -> dict[str, str]:
        """The header that authorizes a request to write."""
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class OrderWorkerProcess:
    """A running order worker: ``log`` is its log file, ``pid`` its process."""

    log: Path
    pid: int


def reach_loopback_directly() -> None:
    """Let HTTP clients of this process reach servers on this machine without a proxy.

    ``HTTP_PROXY`` applies to the loopback address too, unless ``NO_PROXY`` excludes it.
    """
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        missing = [host for host in ("127.0.0.1", "localhost") if host not in hosts]
        os.environ[name] = ",".join(hosts + missing)


@contextlib.contextmanager
def start_service(
    stores: Stores, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[ServiceProcess]:
    """Serve the databases of ``stores`` on a free port of the loopback address; stop it at the end.

    ``options`` are those of ``python -m helpers serve``, such as ``"--read-model"``; ``environ`` is
    added to its environment.

    Raises ``ServerError`` if it does not start.
    """
    reach_loopback_directly()
    token = secrets.token_urlsafe(24)
    more = {"SHOP_TOKEN": token, **(environ or {})}
    with _run(stores, ["serve", "--port", "0", *options], more) as (process, log):
        line = _first_line(process, log, _SERVE_READY, "The service")
        url = line.removeprefix(_SERVE_READY).strip().rstrip("/")
        yield ServiceProcess(url, token, log, process.pid)


@contextlib.contextmanager
def start_order_worker(
    stores: Stores, *, every: float = 0.1, environ: Mapping[str, str] | None = None
) -> Iterator[OrderWorkerProcess]:
    """Process the orders in the databases of ``stores`` every ``every`` seconds.

    The worker runs when this yields; it is stopped at the end, after its current pass. ``environ``
    is added to its environment.

    Raises ``ServerError`` if it does not start.
    """
    with _run(stores, ["relay", "--every", str(every)], environ or {}) as (process, log):
        _first_line(process, log, RELAY_READY, "The relay")
        yield OrderWorkerProcess(log, process.pid)


@contextlib.contextmanager
def _run(
    stores: Stores, arguments: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run ``python -m helpers`` with ``arguments``; yield the process and its log file."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    # The process works in this folder, so it ends with this process, whatever ends that.
    with temporary_folder("course-api-") as folder:
        log = folder / "log.jsonl"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "helpers", *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, **environment_of(stores), **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            yield process, log
        finally:
            _stop(process)


def _first_line(process: subprocess.Popen[str], log: Path, ready: str, name: str) -> str:
    """Return the first line that the process prints. Raises if it does not begin with ``ready``."""
    assert process.stdout is not None
    timer = threading.Timer(_START_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line.startswith(ready):
        process.wait(_STOP_SECONDS)
        message = log.read_text("utf-8", "replace").strip()[-2000:].rstrip(".")
        raise ServerError(
            f"{name} did not start: {message or 'its log is empty'}. Correct this, then try again."
        )
    return line


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
