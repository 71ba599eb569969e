"""Run the service in the background, in a separate process."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers.embedded.temporary_servers import temporary_folder
from helpers.errors import ServerError
from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.environment import environment_of

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
# The beginning of the line that ``python -m helpers serve`` prints when it is ready.
_READY = "The shop is at "


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
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    # The process works in this folder, so it ends with this process, whatever ends that.
    with temporary_folder("course-api-") as folder:
        log = folder / "log.jsonl"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "helpers", "serve", "--port", "0", *options],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    **environment_of(stores),
                    "SHOP_TOKEN": token,
                    **(environ or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            yield ServiceProcess(_read_address(process, log), token, log, process.pid)
        finally:
            _stop(process)


def _read_address(process: subprocess.Popen[str], log: Path) -> str:
    """Return the address that the service prints. Raises ``ServerError`` if it prints none."""
    assert process.stdout is not None
    timer = threading.Timer(_START_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line.startswith(_READY):
        process.wait(_STOP_SECONDS)
        message = log.read_text("utf-8", "replace").strip()[-2000:].rstrip(".")
        raise ServerError(
            f"The service did not start: {message or 'its log is empty'}. Correct this, then try "
            "again."
        )
    return line.removeprefix(_READY).strip().rstrip("/")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
