"""The sandbox of one submission: its own folder, account and servers, all removed afterwards.

If the grader runs as root, each submission runs as its own system user, who owns nothing but its
folder. On Linux 5.13 and newer, Landlock restricts writing to that folder and reading to it, the
system's files and the course's. A notebook that opens the stores starts embedded servers in that
folder, under the same restrictions as its other processes.
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
from helpers.embedded.server_processes import processes_below, send_signal, stop_processes
from helpers.embedded.system_accounts import allow_traversal, system_user
from helpers.errors import ServerError
from helpers.settings import PROJECT

# Of the instructor's environment, a submission gets only the variables that name servers.
_PASSED_ON = (
    *("PG_BINDIR", "POSTGRES_URL", "POSTGRES_WORKER_URLS", "POSTGRES_WORKER_NAMES"),
    *("MONGO_URL", "REDIS_URL"),
)
_LONGEST_STOP_SECONDS = 10
_MOST_ACCOUNTS = 64

#: The packages copied for a submission; they include the part of the grader that runs inside.
COPIED = ("helpers", "course")

#: The prefix of the sandboxes' folders.
FOLDERS = "course-graded-"


@dataclass(frozen=True)
class Sandbox:
    """``folder`` is the only writable folder; the notebook runs in ``work`` below it."""

    folder: Path
    course: Path
    environ: Mapping[str, str]
    memory_mib: int
    user: struct_passwd | None

    @property
    def work(self) -> Path:
        """The folder that the notebook runs in."""
        return self.folder / "work"

    def launch(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start ``command`` in the sandbox, with a submission's rights."""
        readable = [self.course, Path(sys.prefix), Path(sys.base_prefix)]
        if bindir := self.environ.get("PG_BINDIR"):
            readable.append(Path(bindir).parent)
        # Run the file itself: importing its package would take a second.
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
        """Return every live process that the submission started, directly or indirectly."""
        found = {process.pid: process for process in psutil.Process().children(recursive=True)}
        if self.user is not None:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if process.uids().real == self.user.pw_uid:
                        found[process.pid] = process
        else:
            found |= {process.pid: process for process in processes_below(self.folder)}
        return [process for process in found.values() if _is_alive(process)]

    def memory_used(self) -> int:
        """Return the private memory of the submission's processes, in bytes."""
        total = 0
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                total += memory.rss - getattr(memory, "shared", 0)
        return total

    def clear(self) -> None:
        """Kill every process of the submission, even if it keeps starting new ones."""
        for _ in range(100):
            left = self.processes()
            if not left:
                break
            # Stop all before killing any, so that none can start a replacement.
            send_signal(left, signal.SIGSTOP)
            stop_processes(left, signal.SIGKILL, seconds=_LONGEST_STOP_SECONDS)


@contextlib.contextmanager
def sandbox(course: Path, memory_mib: int) -> Iterator[Sandbox]:
    """Yield a sandbox; kill its processes and delete it afterwards.

    ``course`` is a folder with the course's packages. All child processes of this process are
    treated as the sandbox's, so use one process per sandbox.

    Raises ``ServerError`` if no account is free and none can be created.
    """
    become_subreaper()
    with _free_account() as user:
        yield from _sandbox(user, course, memory_mib)


def make_accounts(count: int) -> None:
    """Create ``count`` accounts for submissions if we are root and they do not exist.

    Raises ``ServerError`` if one cannot be created.
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
        made.clear()  # processes of this account that a killed grader left behind
        yield made
    finally:
        made.clear()
        _fetch_ended()
        shutil.rmtree(outer, ignore_errors=True)


@contextlib.contextmanager
def _free_account() -> Iterator[struct_passwd | None]:
    """Yield an account that no other submission uses; ``None`` if we are not root.

    Raises ``ServerError`` if none is free and none can be created.
    """
    if os.geteuid() != 0:
        yield None
        return
    for number in range(1, _MOST_ACCOUNTS + 1):
        # An abstract socket name: unique in the system, released when the process ends.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
            try:
                held.bind(f"\0{ACCOUNTS}{number}")
            except OSError:
                continue
            yield _account(number)
            return
    raise ServerError(f"{_MOST_ACCOUNTS} submissions are being graded already: give fewer JOBS.")


def _account(number: int) -> struct_passwd | None:
    user = system_user(f"{ACCOUNTS}{number}", why="A submission must not run as root")
    if user is not None:
        for folder in (Path(sys.prefix), Path(sys.base_prefix)):
            allow_traversal(folder, user)
    return user


@contextlib.contextmanager
def course_copy() -> Iterator[Path]:
    """Yield a folder with a copy of the course's packages; delete it afterwards.

    It contains neither the notebooks nor the project's source nor any submission.
    """
    with tempfile.TemporaryDirectory(prefix="course-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        ignored = shutil.ignore_patterns("__pycache__")
        for package in COPIED:
            shutil.copytree(PROJECT / package, folder / package, ignore=ignored)
        for entry in folder.rglob("*"):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
        # Compile once for all submissions, which cannot write there.
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", str(folder)], check=True, umask=0o022
        )
        yield folder


def _fetch_ended() -> None:
    """Reap the ended processes that we inherited, so that their CPU time counts as ours."""
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
        # Each thread would map memory that it does not use.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
