"""Create the temporary folders of a test run, and remove its processes and files at the end.

All files of a run are in two folders, and every process that it starts inherits the path of the
first in its environment. Only the run holds the write end of a pipe. The system closes it when the
run ends, normally or by a signal. A cleanup process reads the pipe; at its end, it kills the
remaining processes and deletes the folders.

Run as ``python -m tests.cleanup FOLDER FOLDER``, with the pipe as its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

# Not imported from the helpers: their drivers take a second to import, and every run waits for it.
PROJECT = Path(__file__).resolve().parent.parent

#: The environment variable with the run's folder on disk, by which its processes are found.
RUN = "COURSE_TEST_RUN"

# Written by a run that ended normally. Its processes get a moment to end by themselves.
_FINISHED = b"finished"
_GRACE_SECONDS = 3.0
_QUIT_SECONDS = 2.0
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LEAST_MEMORY = 4 << 30


class Run:
    """A test run, from ``begin`` to ``finish``.

    ``folder`` has pytest's ``tmp_path``, ``memory`` all other temporary files: in memory, if that
    is large enough. A run creates and deletes hundreds of data directories of servers, and on a
    disk each takes seconds.
    """

    def __init__(self) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A shell ignores SIGINT for background jobs, but tests interrupt processes with it.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.folder = _make_folder(None)
        self.memory = _make_folder(_file_system_in_memory())
        self._cleanup = subprocess.Popen(
            [sys.executable, "-m", "tests.cleanup", str(self.folder), str(self.memory)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._environ = {
            RUN: str(self.folder),
            "PYTEST_DEBUG_TEMPROOT": str(self.folder),
            "TMPDIR": str(self.memory),
            # Kernels write their connection files and their history there.
            "JUPYTER_RUNTIME_DIR": str(self.memory / "jupyter"),
            "IPYTHONDIR": str(self.memory / "ipython"),
        }
        os.environ.update(self._environ)
        tempfile.tempdir = None

    def finish(self) -> list[str]:
        """Delete the folders; return the command lines of the processes that had to be killed."""
        output, _ = self._cleanup.communicate(_FINISHED)
        for name in self._environ:
            os.environ.pop(name, None)
        tempfile.tempdir = None
        left: list[str] = json.loads(output)
        return left


def begin() -> Run | None:
    """Begin a run, or return ``None`` if this process belongs to one already."""
    return None if RUN in os.environ else Run()


def members(*folders: Path) -> list[psutil.Process]:
    """Return the live processes of the run with these folders.

    They have inherited the path of the first folder, or work in or below one of the folders. Of
    another user's process, neither may be readable.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and _is_alive(process) and _belongs(process, folders):
                found.append(process)
    return found


def end(folders: Sequence[Path], *, grace_seconds: float) -> list[str]:
    """Kill the run's processes that remain after ``grace_seconds``; return their command lines."""
    began = time.monotonic()
    while (left := members(*folders)) and time.monotonic() < began + grace_seconds:
        time.sleep(_POLL_SECONDS)
    killed = [_command_line(process) for process in left]
    began = time.monotonic()
    while (left := members(*folders)) and time.monotonic() < began + _KILL_SECONDS:
        quitting = time.monotonic() < began + _QUIT_SECONDS
        for process in left:
            with contextlib.suppress(psutil.Error):
                # On SIGQUIT, PostgreSQL removes its shared memory.
                quits = quitting and process.name() == "postgres"
                process.resume()
                process.send_signal(signal.SIGQUIT if quits else signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    return killed


def main(*folders: Path) -> None:
    """Wait until the run ends, clean up, and print the killed command lines as JSON."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    finished = sys.stdin.buffer.read() == _FINISHED
    killed = end(folders, grace_seconds=_GRACE_SECONDS if finished else 0)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(killed), flush=True)


def _make_folder(place: Path | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="course-tests-", dir=place)).resolve()
    # As root, servers and students' notebooks run as other users, who must reach their files.
    folder.chmod(0o711)
    return folder


def _file_system_in_memory() -> Path | None:
    """Return a file system in memory with enough space, or ``None``."""
    memory = Path("/dev/shm")
    if sys.platform != "linux" or not os.access(memory, os.W_OK):
        return None
    system = os.statvfs(memory)
    # Some tests write programs and execute them.
    if system.f_flag & os.ST_NOEXEC or system.f_bavail * system.f_frsize < _LEAST_MEMORY:
        return None
    return memory


def _belongs(process: psutil.Process, folders: Sequence[Path]) -> bool:
    with contextlib.suppress(psutil.AccessDenied):
        if process.environ().get(RUN) == str(folders[0]):
            return True
    place = Path(process.cwd())
    return any(place.is_relative_to(folder) for folder in folders)


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _command_line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:200]
    return f"process {process.pid}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
