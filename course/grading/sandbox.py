"""Sandboxes, made by bubblewrap: where a submission runs, and its servers, and nothing else.

A submission has three places. Its tests run in a process with a separate network (``outside``),
which its servers share, in a sandbox without other files. The student's process is in a second
sandbox, with another network, other process ids and temporary files; a socket is its only way out.
All end with the process that started them, and leave nothing.

https://github.com/containers/bubblewrap describes the options.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.errors import GradingError
from helpers.settings import PROJECT

#: How submissions are isolated: by ``bubblewrap``, only by a separate ``account``, which cannot
#: read what is root's, or not at all (``none``), for work that one trusts.
ISOLATION = "ISOLATION"

# If the grader is root, processes in sandboxes become accounts that own nothing, and that need not
# exist: one for all servers, and one for each submission, so that each has its own limits.
_FIRST_ACCOUNT = 2**30
_USER = 1000
_ETC = ("ld.so.cache", "alternatives", "localtime")
_TOP = ("bin", "sbin", "lib", "lib64", "lib32")
_HOME = "/home/student"
_COURSE = "/course"
_PACKAGES = ("helpers", "course/__init__.py", "course/marketplace")
_GRADING = ("__init__", "handles", "servers", "student_process", "wire")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True)
class Sandbox:
    """What a sandbox allows: sizes of its temporary files in MiB, limits, additional folders.

    ``read`` maps folders outside to folders inside. ``address_mib`` limits the address space of
    each process, ``processes`` their number.
    """

    home_mib: int
    network: bool = False
    account: int = 0
    address_mib: int | None = None
    processes: int | None = None
    read: Mapping[Path, str] | None = None
    write: Mapping[Path, str] | None = None

    def launch(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        keep: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Run ``module`` in the sandbox; ``keep`` are descriptors that stay open."""
        files = {"/etc/passwd": f"student:x:{self._user}:{self._user}::{_HOME}:/bin/sh\n"}
        files["/etc/group"] = f"student:x:{self._user}:\n"
        files["/etc/hosts"] = "127.0.0.1 localhost\n"
        with contextlib.ExitStack() as opened:
            options: list[str] = []
            descriptors = []
            for place, text in files.items():
                descriptor = os.memfd_create("etc")
                opened.callback(os.close, descriptor)
                os.write(descriptor, text.encode())
                os.lseek(descriptor, 0, os.SEEK_SET)
                descriptors.append(descriptor)
                options += ["--perms", "0644", "--ro-bind-data", str(descriptor), place]
            return subprocess.Popen(
                [*self.command(options), sys.executable, "-m", module, *arguments],
                pass_fds=[*keep, *descriptors],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                env={},  # bubblewrap's own can be read inside
            )

    def command(self, more: Sequence[str] = ()) -> list[str]:
        """Return the beginning of a command that runs a program in the sandbox."""
        return [_program(), *self.options(), *more, "--", *self._limits()]

    @property
    def _user(self) -> int:
        return _FIRST_ACCOUNT + self.account if os.geteuid() == 0 else _USER

    def options(self) -> list[str]:
        """Return bubblewrap's options."""
        options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        if not self.network:
            options.append("--unshare-net")
        if os.geteuid() != 0:
            options += ["--unshare-user", "--uid", str(_USER), "--gid", str(_USER)]
            options.append("--disable-userns")
        options += ["--die-with-parent", "--new-session", "--hostname", "course", "--clearenv"]
        for name, value in self._environ().items():
            options += ["--setenv", name, value]
        options += ["--proc", "/proc", "--dev", "/dev"]
        for place, size in (("/tmp", 64), ("/dev/shm", 64), (_HOME, self.home_mib)):  # noqa: S108
            options += ["--perms", "1777", "--size", str(size * 2**20), "--tmpfs", place]
        options += self._files()
        for outside, inside in (self.write or {}).items():
            options += ["--bind", str(outside), inside]
        return [*options, "--chdir", _HOME]

    def _files(self) -> list[str]:
        options: list[str] = []
        readable = self._readable()
        above = {str(folder) for _, inside in readable for folder in Path(inside).parents}
        for folder in sorted(above - {"/", _HOME, "/tmp", "/dev/shm"}):  # noqa: S108
            options += ["--perms", "0755", "--dir", folder]
        for outside, inside in readable:
            options += ["--ro-bind", str(outside), inside]
        for name in _TOP:
            top = Path("/", name)
            if top.is_symlink():
                options += ["--symlink", str(top.readlink()), str(top)]
            elif top.is_dir():
                options += ["--ro-bind", str(top), str(top)]
        return options

    def _readable(self) -> list[tuple[Path, str]]:
        places = [Path("/usr"), *(Path("/etc", name) for name in _ETC)]
        places += [Path(sys.prefix), Path(sys.base_prefix)]
        if bindir := os.environ.get("PG_BINDIR"):
            places.append(Path(bindir).resolve().parent)
        found = [(place, str(place)) for place in dict.fromkeys(places) if place.exists()]
        grading = [f"course/grading/{name}.py" for name in _GRADING]
        found += [(PROJECT / name, f"{_COURSE}/{name}") for name in (*_PACKAGES, *grading)]
        return [*found, *(self.read or {}).items()]

    def _environ(self) -> dict[str, str]:
        bindir = {name: os.environ[name] for name in ("PG_BINDIR",) if os.environ.get(name)}
        return {
            **bindir,
            **_ONE_THREAD,
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": _HOME,
            "USER": "student",
            "LOGNAME": "student",
            "PYTHONPATH": _COURSE,
            "PYTHONDONTWRITEBYTECODE": "1",
            "SHOP_HOME": f"{_HOME}/shop",
            "SHOP_DURABILITY": "off",
            "SHOP_DOTENV": os.devnull,
        }

    def as_account(self) -> list[str]:
        """Return the beginning of a command that runs a program as the sandbox's account."""
        account = str(_FIRST_ACCOUNT + self.account)
        return ["setpriv", "--reuid", account, "--regid", account, "--clear-groups"]

    def _limits(self) -> list[str]:
        limits = ["prlimit", "--core=0"]
        if self.address_mib is not None:
            limits.append(f"--as={self.address_mib * 2**20}")
        if self.processes is not None:
            limits.append(f"--nproc={self.processes}")
        return [*limits, *(self.as_account() if os.geteuid() == 0 else [])]


def outside() -> list[str]:
    """Return the beginning of a command that runs a program in a separate network.

    Everything that it starts ends with it.
    """
    return [_program(), "--unshare-net", "--dev-bind", "/", "/", "--die-with-parent", "--"]


def is_isolated() -> bool:
    """Return whether submissions are isolated by bubblewrap.

    Raises ``GradingError`` if they should be isolated and cannot be.
    """
    wanted = os.environ.get(ISOLATION, "bubblewrap")
    if wanted == "none" or (wanted == "account" and os.geteuid() == 0):
        return False
    if wanted == "account":
        raise GradingError(f"{ISOLATION} is 'account', which only root can do: grade as root.")
    if wanted != "bubblewrap":
        raise GradingError(f"{ISOLATION} is {wanted!r}: give bubblewrap, account or none.")
    done = subprocess.run(
        [*outside(), *Sandbox(1).command(), "true"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GradingError(
            f"Submissions cannot be isolated: bubblewrap says {done.stderr.strip()!r}. See "
            "docs/instructors.md; to grade submissions that you trust without isolation, set "
            f"{ISOLATION}=none."
        )
    return True


def _program() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise GradingError(
            "Submissions are isolated by bubblewrap, which is not installed. Install it (on Debian "
            "and Ubuntu: apt-get install bubblewrap); on macOS, grade in a container as in "
            f"docs/instructors.md. For submissions that you trust, set {ISOLATION}=none."
        )
    return found


def end_sandbox(process: subprocess.Popen[bytes]) -> float:
    """Kill everything in a sandbox, or a process that runs without one and its children.

    Returns the processor time that they used, in seconds: the system does not count it for us.
    """
    seconds = 0.0
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(process.pid)
        sandboxed = found.name() == "bwrap"
        below = found.children(recursive=True)
        for one in [found, *below]:
            with contextlib.suppress(psutil.Error):
                seconds += sum(one.cpu_times()[:4])
        # The first process of the namespace: the rest ends with it.
        for one in found.children() if sandboxed and below else [found, *below]:
            with contextlib.suppress(psutil.Error):
                one.kill()
    if not seconds:
        process.kill()  # it could not be looked at
    process.wait()
    return seconds


def usage(pid: int) -> tuple[int, int]:
    """Return the memory of a process and its descendants, in bytes, and how many they are.

    Memory that they share counts once; files in memory (``memfd_create``) count too.
    """
    used, count = 0, 0
    with contextlib.suppress(psutil.Error):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with contextlib.suppress(psutil.Error, OSError):
                count += 1
                used += _memory(process)
    return used, count


def _memory(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.uss)) + int(full.swap if hasattr(full, "swap") else 0)
