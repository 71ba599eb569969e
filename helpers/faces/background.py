"""The service in the background: a process of its own, for as long as somebody wants it."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers.errors import ServerError
from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.naming import environment_of

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
    with tempfile.TemporaryDirectory(prefix="course-api-") as folder:
        log = Path(folder) / "log.jsonl"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "helpers", "serve", "--port", "0", *options],
                cwd=PROJECT,
                env={
                    **os.environ,
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
            yield Served(_address(process, log), token, log, process.pid)
        finally:
            _stop(process)


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """Return where the service says that it is."""
    assert process.stdout is not None
    # Who is silent is stopped, and then has said nothing.
    watch = threading.Timer(_START_SECONDS, process.kill)
    watch.start()
    try:
        line = process.stdout.readline()
    finally:
        watch.cancel()
    if not line.startswith(_SAYS):
        process.wait(_STOP_SECONDS)
        said = log.read_text("utf-8", "replace").strip()[-2000:]
        raise ServerError(
            f"The service did not start: {said or 'it said nothing'}. Correct this, then try again."
        )
    return line.removeprefix(_SAYS).strip().rstrip("/")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
