"""Test the README's two commands as on a new machine, in every way possible here."""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.fresh.clone import PROJECT, Clone, FreshError

#: The path of the clones: with spaces, an accent, and non-Latin characters.
FOLDER = "Ein Kurs für Übungen – 日本"
USER = "course_fresh"

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_UNREACHABLE = ("192.0.2.1", 80)  # a documentation address, which never responds


class Report:
    """Prints which claims hold, which do not, and which could not be tested."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def check(self, claim: str, act: Callable[[], str]) -> bool:
        """Test a claim by calling ``act``, print the result, and return whether it holds."""
        print(f"  …          {claim}", flush=True)
        try:
            more = act()
        except (FreshError, OSError, subprocess.SubprocessError) as error:
            self.failed.append(claim)
            print(f"  FAILED     {claim}: {error}", flush=True)
            return False
        print(f"  held       {claim}{f': {more}' if more else ''}", flush=True)
        return True

    def not_tested(self, claim: str, why: str) -> None:
        """Print that a claim could not be tested here, and why."""
        print(f"  not tested {claim}: {why}", flush=True)


@contextlib.contextmanager
def temporary_user() -> Iterator[str | None]:
    """Create an ordinary user if we are root, and yield its name; otherwise yield ``None``.

    Raises ``FreshError`` if none can be created.
    """
    if os.geteuid() != 0:
        yield None
        return
    if shutil.which("useradd") is None:
        raise FreshError("the program useradd is missing, which root needs here")
    name = f"{USER}_{os.getpid()}"
    command = ["useradd", "--system", "--user-group", "--no-create-home", name]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)


def try_all(top: Path, user: str | None, report: Report) -> None:
    """Test everything in clones below ``top``; ``user`` is the ordinary user if we are root."""
    root = os.geteuid() == 0
    who = "an ordinary user"
    first = Clone.make(top / FOLDER / "first", top / "home of the first", user)
    if not report.check(f"`make lab`, a notebook and `make down`, as {who}", first.session):
        return
    again = "the same again, without a network"
    if root and sys.platform == "linux" and shutil.which("unshare"):
        report.check(again, lambda: _without_network(first))
    else:
        report.not_tested(again, "this needs root on Linux")
    second = Clone.make(top / FOLDER / "second", top / "home of the second", None)
    other = "root, for the first time" if root else "the same user"
    report.check(
        f"two clones at once: one again, the other by {other}", lambda: _at_once(first, second)
    )
    if not root:
        report.not_tested("the same as root", "it needs root")


def _at_once(first: Clone, second: Clone) -> str:
    """Run the sessions of both clones concurrently.

    Raises the first error after both have ended.
    """
    with ThreadPoolExecutor(2) as pool:
        # The second clone is started first, since it must install everything.
        futures = [pool.submit(clone.session) for clone in (second, first)]
    return ", ".join(future.result() for future in futures)


def _without_network(clone: Clone) -> str:
    """Run the session in a process with its own, empty network namespace."""
    command = ["unshare", "--net", sys.executable, "-m", "tests.e2e.fresh", "--without-network"]
    arguments = [str(clone.folder), str(clone.home), clone.user or ""]
    done = subprocess.run([*command, *arguments], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise FreshError((done.stderr.strip().splitlines() or ["it printed nothing"])[-1])
    return done.stdout.strip()


def session_without_network(clone: Clone) -> str:
    """Run the session without a network, after activating the loopback device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        name = b"lo".ljust(16, b"\0")
        answer = fcntl.ioctl(device, _SIOCGIFFLAGS, name + bytes(24))
        (flags,) = struct.unpack_from("h", answer, 16)
        up = name + struct.pack("h", flags | _IFF_UP) + bytes(22)
        fcntl.ioctl(device, _SIOCSIFFLAGS, up)
    with socket.socket() as out:
        if out.connect_ex(_UNREACHABLE) != errno.ENETUNREACH:
            raise FreshError("the network is still reachable")
    return clone.session()


def main() -> int:
    """Test all claims; return 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.e2e.fresh", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the clones and their logs")
    parser.add_argument("--without-network", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.without_network:
        folder, home, user = options.without_network
        try:
            print(session_without_network(Clone(Path(folder), Path(home), user or None)))
        except FreshError as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    report = Report()
    top = Path(tempfile.mkdtemp(prefix="course-fresh-")).resolve()
    top.chmod(0o755)
    print(f"In {top / FOLDER}, from the last commit:", flush=True)
    try:
        with temporary_user() as user:
            try_all(top, user, report)
    except FreshError as error:
        print(f"  FAILED     {error}")
        return 1
    finally:
        if options.keep:
            print(f"Left in {top}")
        else:
            shutil.rmtree(top, ignore_errors=True)
    print("Some claims do not hold." if report.failed else "All tested claims hold.")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
