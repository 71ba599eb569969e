"""The service and the relay in the background: each a process of its own, while it is wanted."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.errors import ServerError
from helpers.orders.order_worker import RELAY_READY
from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.environment import environment_of

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_SAYS = "The shop is at "


@dataclass(frozen=True)
class Served:
    """A service that runs: its address without a slash at the end, and the token for writes.

    ``log`` is the file with its log, ``pid`` its process.
    """

    url: str
    token: str = field(repr=False)
    log: Path
    pid: int

    @property
    def writing(self) -> dict[str, str]:
        """The header that lets a request write."""
        return {"Authorization": f"Bearer {self.token}"}


@contextlib.contextmanager
def served(
    stores: Stores, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Serve the databases of ``stores`` on a free port of the loopback address.

    ``options`` are those of ``python -m helpers serve``, such as ``"--read-model"``; ``environ``
    is added to the environment. At the end the service is stopped.

    Raises ``ServerError`` where it does not start.
    """
    token = secrets.token_urlsafe(24)
    more = {"SHOP_TOKEN": token, **(environ or {})}
    with _running(stores, ["serve", "--port", "0", *options], more) as (process, log):
        yield Served(_address(process, log), token, log, process.pid)


@dataclass(frozen=True)
class Relaying:
    """A relay that runs: ``log`` is the file with what it says of failures, ``pid`` its process."""

    log: Path
    pid: int


@contextlib.contextmanager
def relaying(
    stores: Stores, *, every: float = 0.1, environ: Mapping[str, str] | None = None
) -> Iterator[Relaying]:
    """Keep the orders in the databases of ``stores``, every ``every`` seconds.

    It is at work when this yields. ``environ`` is added to the environment. At the end the relay is
    stopped, after the pass that runs.

    Raises ``ServerError`` where it does not start.
    """
    arguments = ["relay", "--every", str(every)]
    with _running(stores, arguments, environ or {}) as (process, log):
        _said(process, log, RELAY_READY, "The relay")
        yield Relaying(log, process.pid)


@contextlib.contextmanager
def _running(
    stores: Stores, arguments: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run ``python -m helpers`` with ``arguments``; its log is a file."""
    with tempfile.TemporaryDirectory(prefix="course-api-") as folder:
        log = Path(folder) / "log.jsonl"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "helpers", *arguments],
                cwd=PROJECT,
                env={**os.environ, **environment_of(stores), **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            yield process, log
        finally:
            _stop(process)


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """Return where the service says that it is."""
    return _said(process, log, _SAYS, "The service").removeprefix(_SAYS).strip().rstrip("/")


def _said(process: subprocess.Popen[str], log: Path, begins: str, who: str) -> str:
    """Return the first line that the process says. Raises where it does not begin so."""
    assert process.stdout is not None
    # Who is silent is stopped, and then has said nothing.
    watch = threading.Timer(_START_SECONDS, process.kill)
    watch.start()
    try:
        line = process.stdout.readline()
    finally:
        watch.cancel()
    if not line.startswith(begins):
        process.wait(_STOP_SECONDS)
        said = log.read_text("utf-8", "replace").strip()[-2000:]
        raise ServerError(
            f"{who} did not start: {said or 'it said nothing'}. Correct this, then try again."
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
