"""A clone on a new machine, and the commands that its owner runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[3]
NOTEBOOK = "00_tour.ipynb"

# Generous, for a slow network.
_INSTALL_SECONDS = 3600
_COMMAND_SECONDS = 900
_STOP_SECONDS = 60
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(?P<port>\d+)/lab\?token=(?P<token>\w+)")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/opt/homebrew/bin"
# Variables that may be needed to reach the package index.
_PASSED_ON = re.compile(
    r"(PIP_(?!CACHE|TARGET|USER)\w+|\w+_proxy|\w*SSL_CERT\w+|\w+_CA_BUNDLE)", re.IGNORECASE
)


class FreshError(Exception):
    """A claim of the README does not hold on a new machine; the text says which."""


@dataclass(frozen=True)
class Lab:
    """The port and the token of a running JupyterLab."""

    port: int
    token: str

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://127.0.0.1:{self.port}/lab?token={self.token}"


@dataclass(frozen=True)
class Clone:
    """A clone in ``folder``, owned by ``user`` (``None``: this user), who has an empty ``home``."""

    folder: Path
    home: Path
    user: str | None = None

    @classmethod
    def make(cls, folder: Path, home: Path, user: str | None) -> Clone:
        """Clone the last commit. Raises ``FreshError`` if that fails."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(parents=True)
        source = PROJECT.as_uri()  # a path would share files with this clone
        cloned = subprocess.run(
            ["git", "clone", "--quiet", source, str(folder)], capture_output=True, text=True
        )
        if cloned.returncode:
            raise FreshError(f"git clone failed: {cloned.stderr.strip()}")
        if user is not None:
            for place in (home, folder):
                subprocess.run(["chown", "-R", f"{user}:", str(place)], check=True)
        return cls(folder, home, user)

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command as the owner in the clone, with its output in ``log``."""
        owner: Mapping[str, Any] = {}
        if self.user is not None:
            owner = {"user": self.user, "group": self.user, "extra_groups": []}
        with log.open("wb") as file:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment(self.home),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **owner,
            )

    def run(self, *command: str) -> str:
        """Run a command and return its output. Raises ``FreshError`` if it fails."""
        log = self._log(command[-1])
        process = self.start(*command, log=log)
        try:
            process.wait(_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
        output = log.read_text("utf-8", "replace")
        if process.returncode:
            ended = f"`{' '.join(command)}` ended with {process.returncode}"
            raise FreshError(f"{ended}: {_last_lines(output)}")
        return output

    @contextlib.contextmanager
    def lab(self) -> Iterator[Lab]:
        """Run ``make lab`` and yield JupyterLab when it is running. Raises ``FreshError``."""
        log = self._log("lab")
        process = self.start("make", "lab", log=log)
        try:
            yield _wait_for_lab(process, log)
        finally:
            _end(process)

    def session(self) -> str:
        """Follow the README: ``make lab``, a notebook, ``make down``. Return a summary.

        Raises ``FreshError`` for the first claim that does not hold.
        """
        try:
            with self.lab() as lab:
                check_page(lab)
                kernel = start_kernel(lab, NOTEBOOK)
                python = ".venv/bin/python"
                self.run(python, "-m", "tests.e2e.fresh.probe", kernel, f"notebooks/{NOTEBOOK}")
        except FreshError:
            with contextlib.suppress(FreshError):  # the first error matters
                self._down()
            raise
        self._down()
        self._check_end()
        return f"JupyterLab on port {lab.port}"

    def _down(self) -> None:
        if (self.folder / ".venv" / ".lab").exists():  # otherwise nothing was installed or started
            self.run("make", "down")

    def _check_end(self) -> None:
        deadline = time.monotonic() + _STOP_SECONDS
        while left := self.processes():  # JupyterLab's kernels may end a moment later
            if time.monotonic() > deadline:
                raise FreshError(f"after `make down` this still runs: {left[0][:200]}")
            time.sleep(0.5)

    def processes(self) -> list[str]:
        """Return the command lines of processes that run programs of the clone or use its data."""
        listed = subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, check=True)
        mark = f"/{self.folder.parents[1].name}/".encode(), f"/{self.folder.name}/.".encode()
        return [
            line.decode("utf-8", "replace")
            for line in listed.stdout.splitlines()
            if all(part in line for part in mark)
        ]

    def _log(self, name: str) -> Path:
        return self.home.parent / f"{self.folder.name}-{re.sub(r'[^a-z0-9]+', '-', name)}.log"


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a new account: paths, home, and access to the network."""
    passed = {key: value for key, value in os.environ.items() if _PASSED_ON.fullmatch(key)}
    return {**passed, "HOME": str(home), "PATH": search_path(), "LC_ALL": "C.UTF-8"}


def search_path() -> str:
    """Return the system's path, preceded by this Python if the system's is too old."""
    found = shutil.which("python3", path=_SYSTEM_PATH)
    check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    if found and subprocess.run([found, "-c", check], capture_output=True).returncode == 0:
        return _SYSTEM_PATH
    return f"{Path(sys.base_prefix, 'bin')}:{_SYSTEM_PATH}"


def find_lab(output: str) -> Lab | None:
    """Return JupyterLab's port and token from its output; ``None`` if they are not there yet."""
    found = _ADDRESS.search(output)
    return Lab(int(found["port"]), found["token"]) if found else None


def check_page(lab: Lab) -> None:
    """Raise ``FreshError`` unless JupyterLab requires and accepts the token."""
    if "jupyterlab" not in request_text(lab.address).lower():
        raise FreshError("the server at the address is not JupyterLab")
    listed = json.loads(request_text(f"http://127.0.0.1:{lab.port}/api/contents", lab.token))
    if NOTEBOOK not in {file["name"] for file in listed["content"]}:
        raise FreshError(f"JupyterLab does not list {NOTEBOOK}")
    try:
        request_text(f"http://127.0.0.1:{lab.port}/api/contents")
    except FreshError as error:
        if "403" in str(error):
            return
        raise
    raise FreshError("JupyterLab lists the notebooks without the token")


def start_kernel(lab: Lab, notebook: str) -> str:
    """Open a notebook as JupyterLab's page does; return the id of its kernel."""
    session = {
        "path": notebook,
        "name": notebook,
        "type": "notebook",
        "kernel": {"name": "python3"},
    }
    url = f"http://127.0.0.1:{lab.port}/api/sessions"
    kernel: str = json.loads(request_text(url, lab.token, session))["kernel"]["id"]
    return kernel


def request_text(url: str, token: str = "", body: object = None) -> str:
    """Send a request to a local server and return the response. Raises ``FreshError``."""
    headers = {"Authorization": f"token {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    place = url.partition("?")[0]
    try:
        with opener.open(request, timeout=_COMMAND_SECONDS) as response:
            found: str = response.read().decode("utf-8", "replace")
    except (urllib.error.URLError, OSError) as error:
        raise FreshError(f"{place} does not respond: {error}") from None
    return found


def _wait_for_lab(process: subprocess.Popen[bytes], log: Path) -> Lab:
    deadline = time.monotonic() + _INSTALL_SECONDS
    while True:
        ended = process.poll() is not None
        output = log.read_text("utf-8", "replace")
        if lab := find_lab(output):
            return lab
        if ended or time.monotonic() > deadline:
            raise FreshError(f"`make lab` did not start JupyterLab: {_last_lines(output)}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def _last_lines(output: str) -> str:
    return " / ".join(output.strip().splitlines()[-5:])[-800:] or "it printed nothing"
