"""A clone on a machine that has never seen the course, and what its owner does with it."""

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

# A slow network has to bring everything: only there so that nothing hangs.
_INSTALL_SECONDS = 3600
_COMMAND_SECONDS = 900
_STOP_SECONDS = 60
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(?P<port>\d+)/lab\?token=(?P<token>\w+)")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/opt/homebrew/bin"
# What may be needed to reach a package index at all, and says nothing of whose machine it is.
_PASSED_ON = re.compile(
    r"(PIP_(?!CACHE|TARGET|USER)\w+|\w+_proxy|\w*SSL_CERT\w+|\w+_CA_BUNDLE)", re.IGNORECASE
)


class FreshError(Exception):
    """Something of the README does not hold on a new machine; the text says what."""


@dataclass(frozen=True)
class Lab:
    """JupyterLab, as it has said where it is."""

    port: int
    token: str

    @property
    def address(self) -> str:
        """The page that a browser would be sent to."""
        return f"http://127.0.0.1:{self.port}/lab?token={self.token}"


@dataclass(frozen=True)
class Clone:
    """A clone at ``folder``; its owner has an empty ``home`` and is ``user`` (``None``: we)."""

    folder: Path
    home: Path
    user: str | None = None

    @classmethod
    def make(cls, folder: Path, home: Path, user: str | None) -> Clone:
        """Clone what was committed last. Raises ``FreshError`` where that cannot be done."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(parents=True)
        source = PROJECT.as_uri()  # not as a path: that would share files with this clone
        cloned = subprocess.run(
            ["git", "clone", "--quiet", source, str(folder)], capture_output=True, text=True
        )
        if cloned.returncode:
            raise FreshError(f"git does not clone: {cloned.stderr.strip()}")
        if user is not None:
            for place in (home, folder):
                subprocess.run(["chown", "-R", f"{user}:", str(place)], check=True)
        return cls(folder, home, user)

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command of the owner's in the clone; what it says goes into ``log``."""
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
        """Run a command to its end and return what it has said. Raises ``FreshError``."""
        log = self._log(command[-1])
        process = self.start(*command, log=log)
        try:
            process.wait(_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
        said = log.read_text("utf-8", "replace")
        if process.returncode:
            ended = f"`{' '.join(command)}` ended with {process.returncode}"
            raise FreshError(f"{ended}: {_last(said)}")
        return said

    @contextlib.contextmanager
    def lab(self) -> Iterator[Lab]:
        """``make lab``, until JupyterLab has said where it is. Raises ``FreshError``."""
        log = self._log("lab")
        process = self.start("make", "lab", log=log)
        try:
            yield _announced(process, log)
        finally:
            _end(process)

    def session(self) -> str:
        """Do what the README says: ``make lab``, a notebook, ``make down``. Say where it was.

        Raises ``FreshError`` for the first thing that does not hold.
        """
        try:
            with self.lab() as lab:
                check_page(lab)
                kernel = start_kernel(lab, NOTEBOOK)
                python = ".venv/bin/python"
                self.run(python, "-m", "tests.e2e.fresh.probe", kernel, f"notebooks/{NOTEBOOK}")
        except FreshError:
            with contextlib.suppress(FreshError):  # the first one says more
                self._down()
            raise
        self._down()
        self._check_end()
        return f"JupyterLab on port {lab.port}"

    def _down(self) -> None:
        if (self.folder / ".venv" / ".lab").exists():  # else there is nothing to stop, or to do it
            self.run("make", "down")

    def _check_end(self) -> None:
        deadline = time.monotonic() + _STOP_SECONDS
        while left := self.processes():  # JupyterLab's kernels may be a moment behind it
            if time.monotonic() > deadline:
                raise FreshError(f"after `make down` this still runs: {left[0][:200]}")
            time.sleep(0.5)

    def processes(self) -> list[str]:
        """Return the command lines of what runs out of the clone: its programs, on its data."""
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
    """Return what a new account knows: where programs are, where it lives, and how to get out."""
    passed = {key: value for key, value in os.environ.items() if _PASSED_ON.fullmatch(key)}
    return {**passed, "HOME": str(home), "PATH": search_path(), "LC_ALL": "C.UTF-8"}


def search_path() -> str:
    """Return the system's own path, with this Python before it where that has none new enough."""
    found = shutil.which("python3", path=_SYSTEM_PATH)
    able = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    if found and subprocess.run([found, "-c", able], capture_output=True).returncode == 0:
        return _SYSTEM_PATH
    return f"{Path(sys.base_prefix, 'bin')}:{_SYSTEM_PATH}"


def find_lab(said: str) -> Lab | None:
    """Return where JupyterLab is by what it says; ``None`` while it has not said it."""
    found = _ADDRESS.search(said)
    return Lab(int(found["port"]), found["token"]) if found else None


def check_page(lab: Lab) -> None:
    """Raise ``FreshError`` unless the page comes with the token, and nothing without it."""
    if "jupyterlab" not in ask(lab.address).lower():
        raise FreshError("what answers at the address is not JupyterLab")
    listed = json.loads(ask(f"http://127.0.0.1:{lab.port}/api/contents", lab.token))
    if NOTEBOOK not in {one["name"] for one in listed["content"]}:
        raise FreshError(f"JupyterLab does not list {NOTEBOOK}")
    try:
        ask(f"http://127.0.0.1:{lab.port}/api/contents")
    except FreshError as error:
        if "403" in str(error):
            return
        raise
    raise FreshError("JupyterLab lists the notebooks to whoever asks, without the token")


def start_kernel(lab: Lab, notebook: str) -> str:
    """Open a notebook as JupyterLab's page does, and return its kernel's id."""
    wanted = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
    url = f"http://127.0.0.1:{lab.port}/api/sessions"
    kernel: str = json.loads(ask(url, lab.token, wanted))["kernel"]["id"]
    return kernel


def ask(url: str, token: str = "", body: object = None) -> str:
    """Return what a server on this machine answers. Raises ``FreshError``."""
    headers = {"Authorization": f"token {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    place = url.partition("?")[0]
    try:
        with opener.open(request, timeout=_COMMAND_SECONDS) as response:
            found: str = response.read().decode("utf-8", "replace")
    except (urllib.error.URLError, OSError) as error:
        raise FreshError(f"{place} does not answer: {error}") from None
    return found


def _announced(process: subprocess.Popen[bytes], log: Path) -> Lab:
    deadline = time.monotonic() + _INSTALL_SECONDS
    while True:
        ended = process.poll() is not None
        said = log.read_text("utf-8", "replace")
        if lab := find_lab(said):
            return lab
        if ended or time.monotonic() > deadline:
            raise FreshError(f"`make lab` did not come to JupyterLab: {_last(said)}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def _last(said: str) -> str:
    return " / ".join(said.strip().splitlines()[-5:])[-800:] or "it said nothing"
