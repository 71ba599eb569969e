"""Try the README's two commands on a new machine, in every way that this one allows."""

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

#: Where a clone may well lie: with spaces, an accent, a character beyond Latin.
FOLDER = "Ein Kurs für Übungen – 日本"
USER = "course_fresh"

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_FROM_NOWHERE = ("192.0.2.1", 80)  # an address for documents: nobody answers there


class Report:
    """What held, what did not, and what could not be tried; each is said as it is known."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def tried(self, claim: str, act: Callable[[], str]) -> bool:
        """Say whether a claim holds, by doing it; tell whether it does."""
        print(f"  …          {claim}", flush=True)
        try:
            more = act()
        except (FreshError, OSError, subprocess.SubprocessError) as error:
            self.failed.append(claim)
            print(f"  FAILED     {claim}: {error}", flush=True)
            return False
        print(f"  held       {claim}{f': {more}' if more else ''}", flush=True)
        return True

    def not_tried(self, claim: str, why: str) -> None:
        """Say that something could not be tried here, and why."""
        print(f"  not tried  {claim}: {why}", flush=True)


@contextlib.contextmanager
def temporary_user() -> Iterator[str | None]:
    """Make an ordinary user, where we are root; ``None`` where we are an ordinary one already.

    Raises ``FreshError`` where there is none to be had.
    """
    if os.geteuid() != 0:
        yield None
        return
    if shutil.which("useradd") is None:
        raise FreshError("as root there must be a program called useradd")
    name = f"{USER}_{os.getpid()}"
    command = ["useradd", "--system", "--user-group", "--no-create-home", name]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)


def try_all(top: Path, user: str | None, report: Report) -> None:
    """Try everything in clones below ``top``; ``user`` is the ordinary one, if we are not."""
    root = os.geteuid() == 0
    who = "an ordinary user"
    first = Clone.make(top / FOLDER / "first", top / "home of the first", user)
    if not report.tried(f"`make lab`, a notebook and `make down`, as {who}", first.session):
        return
    again = "the same once more, with the network gone"
    if root and sys.platform == "linux" and shutil.which("unshare"):
        report.tried(again, lambda: _without_network(first))
    else:
        report.not_tried(again, "taking it away needs root, on Linux")
    second = Clone.make(top / FOLDER / "second", top / "home of the second", None)
    other = "root, for the first time" if root else "the same user"
    report.tried(
        f"two clones at once: one again, the other by {other}", lambda: _at_once(first, second)
    )
    if not root:
        report.not_tried("the same as root", "it needs root")


def _at_once(first: Clone, second: Clone) -> str:
    """Both at once; neither is done before the other has begun, since both must install or start.

    Raises the first error, when both have ended.
    """
    with ThreadPoolExecutor(2) as pool:
        # Started first: it has everything to install, and the other one waits for nobody.
        futures = [pool.submit(clone.session) for clone in (second, first)]
    return ", ".join(future.result() for future in futures)


def _without_network(clone: Clone) -> str:
    """Have a process do it that has a network of its own, in which there is nothing."""
    command = ["unshare", "--net", sys.executable, "-m", "tests.e2e.fresh", "--without-network"]
    arguments = [str(clone.folder), str(clone.home), clone.user or ""]
    done = subprocess.run([*command, *arguments], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise FreshError((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return done.stdout.strip()


def alone(clone: Clone) -> str:
    """Do it here, where there is no network but the loopback device, which is still down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        name = b"lo".ljust(16, b"\0")
        answer = fcntl.ioctl(device, _SIOCGIFFLAGS, name + bytes(24))
        (flags,) = struct.unpack_from("h", answer, 16)
        up = name + struct.pack("h", flags | _IFF_UP) + bytes(22)
        fcntl.ioctl(device, _SIOCSIFFLAGS, up)
    with socket.socket() as out:
        if out.connect_ex(_FROM_NOWHERE) != errno.ENETUNREACH:
            raise FreshError("there is a network all the same")
    return clone.session()


def main() -> int:
    """Say what holds; 1 where something does not."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.e2e.fresh", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the clones and their logs")
    parser.add_argument("--without-network", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.without_network:
        folder, home, user = options.without_network
        try:
            print(alone(Clone(Path(folder), Path(home), user or None)))
        except FreshError as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    report = Report()
    top = Path(tempfile.mkdtemp(prefix="course-fresh-")).resolve()
    top.chmod(0o755)
    print(f"In {top / FOLDER}, from what was committed last:", flush=True)
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
    print("Something does not hold." if report.failed else "All that was tried holds.")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
