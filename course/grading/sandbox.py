"""Where one submission runs: a folder, an account and servers of its own, and nothing left after.

Where the grader runs as root, each submission has a system user for itself, who owns nothing but
its folder. Where the system can (Linux from 5.13 on), nothing beside that folder can be
written either way, nor read, but for the system's own files and the course's. The stores are those
that the course starts by itself when a notebook opens them: in that folder, and so as fresh, as
confined and as mortal as the notebook's other processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pwd import struct_passwd
from typing import Any

import psutil

from course.grading.confine import ACCOUNTS, become_subreaper
from helpers.embedded.cleanup_process import processes_below
from helpers.embedded.server import send_signal, stop_processes
from helpers.embedded.system_accounts import allow_traversal, system_user
from helpers.errors import ServerError
from helpers.settings import PROJECT

# The instructor's environment is none of the submission's business; these lead to the servers.
_PASSED_ON = (
    *("PG_BINDIR", "POSTGRES_URL", "POSTGRES_WORKER_URLS", "POSTGRES_WORKER_NAMES"),
    *("MONGO_URL", "REDIS_URL"),
)
_LONGEST_STOP_SECONDS = 10
_MOST_ACCOUNTS = 64

#: The packages that a submission can import, and the grader's other side with them.
COPIED = ("helpers", "course")

#: How the names of the sandboxes' folders begin.
FOLDERS = "course-graded-"


@dataclass(frozen=True)
class Sandbox:
    """``folder`` is all that the submission may write in; ``work`` below it is where it works."""

    folder: Path
    course: Path
    environ: Mapping[str, str]
    memory_mib: int
    user: struct_passwd | None

    @property
    def work(self) -> Path:
        """The folder that the notebook is run in."""
        return self.folder / "work"

    def launch(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start ``command`` here, with no more rights than a submission has."""
        readable = [self.course, Path(sys.prefix), Path(sys.base_prefix)]
        if bindir := self.environ.get("PG_BINDIR"):
            readable.append(Path(bindir).parent)
        # By its file, without the rest of the package, which takes a second to import.
        program = self.course / "course" / "grading" / "confine.py"
        rights: dict[str, Any] = {}
        if self.user is not None:
            rights = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(program), str(self.memory_mib)),
                *(str(self.folder), *map(str, readable), "--", *command),
            ],
            cwd=self.work,
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            umask=0o077,
            start_new_session=True,
            **rights,
        )

    def processes(self) -> list[psutil.Process]:
        """Return every live process that the submission has started, and theirs."""
        found = {one.pid: one for one in psutil.Process().children(recursive=True)}
        if self.user is not None:
            for one in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if one.uids().real == self.user.pw_uid:
                        found[one.pid] = one
        else:
            found |= {one.pid: one for one in processes_below(self.folder)}
        return [one for one in found.values() if _is_alive(one)]

    def memory_used(self) -> int:
        """Return how many bytes the submission's processes have for themselves."""
        total = 0
        for one in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                memory = one.memory_info()
                total += memory.rss - getattr(memory, "shared", 0)
        return total

    def clear(self) -> None:
        """End every process of the submission, however many it goes on starting."""
        for _ in range(100):
            left = self.processes()
            if not left:
                break
            # All at once, and asleep before they end: none can replace another meanwhile.
            send_signal(left, signal.SIGSTOP)
            stop_processes(left, signal.SIGKILL, seconds=_LONGEST_STOP_SECONDS)


@contextlib.contextmanager
def sandbox(course: Path, memory_mib: int) -> Iterator[Sandbox]:
    """Yield a sandbox; end its processes and delete it after.

    ``course`` is a folder with the course's package. Every process that this one has started is
    taken for the sandbox's: use one process for each sandbox at a time.

    Raises ``ServerError`` when there is no account for it and none can be made.
    """
    become_subreaper()
    with _free_account() as user:
        yield from _sandbox(user, course, memory_mib)


def make_accounts(count: int) -> None:
    """Make ``count`` accounts for submissions, where we are root and they are not there.

    Raises ``ServerError`` when one cannot be created.
    """
    for number in range(1, count + 1):
        _account(number)


def _sandbox(user: struct_passwd | None, course: Path, memory_mib: int) -> Iterator[Sandbox]:
    outer = Path(tempfile.mkdtemp(prefix=FOLDERS)).resolve()
    made = Sandbox(outer / "home", course, _environ(outer / "home", course), memory_mib, user)
    try:
        outer.chmod(0o711)
        for folder in (made.folder, made.work, made.folder / "tmp"):
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, user.pw_uid, user.pw_gid)
        made.clear()  # what a grader that was killed has left of this account
        yield made
    finally:
        made.clear()
        _fetch_ended()
        shutil.rmtree(outer, ignore_errors=True)


@contextlib.contextmanager
def _free_account() -> Iterator[struct_passwd | None]:
    """Yield an account that no other submission on this machine has; ``None`` if we are not root.

    Raises ``ServerError`` when there is none, and none can be created.
    """
    if os.geteuid() != 0:
        yield None
        return
    for number in range(1, _MOST_ACCOUNTS + 1):
        # A name that only one socket of the system can have, and that ends with its process.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
            try:
                held.bind(f"\0{ACCOUNTS}{number}")
            except OSError:
                continue
            yield _account(number)
            return
    raise ServerError(f"{_MOST_ACCOUNTS} submissions are graded already: give fewer JOBS.")


def _account(number: int) -> struct_passwd | None:
    user = system_user(f"{ACCOUNTS}{number}", why="A submission must not run as root")
    if user is not None:
        for folder in (Path(sys.prefix), Path(sys.base_prefix)):
            allow_traversal(folder, user)
    return user


@contextlib.contextmanager
def course_copy() -> Iterator[Path]:
    """Yield a folder with a copy of the course's packages, to be imported from; delete it after.

    The notebooks, the project's source and what was handed in are not beside it.
    """
    with tempfile.TemporaryDirectory(prefix="course-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        ignored = shutil.ignore_patterns("__pycache__")
        for package in COPIED:
            shutil.copytree(PROJECT / package, folder / package, ignore=ignored)
        for entry in folder.rglob("*"):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
        # Once for all submissions, which cannot write there.
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", str(folder)], check=True, umask=0o022
        )
        yield folder


def _fetch_ended() -> None:
    """Fetch the ended processes that have become ours, so that their time is counted as ours."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _environ(home: Path, course: Path) -> dict[str, str]:
    given = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    return given | {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "SHOP_HOME": str(home / "shop"),
        "SHOP_DURABILITY": "off",
        "SHOP_DOTENV": os.devnull,
        "PYTHONPATH": str(course),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Each thread of theirs would map memory that it does not use.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
