"""A process that cleans up after this one has died, however it ended.

``main`` ends the servers in a temporary folder and deletes the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.embedded.private_files import read_file
from helpers.embedded.server_processes import discard_processes, processes_below
from helpers.settings import PROJECT

# Of postmaster.pid: the key and the id of the shared memory.
_SEGMENT_LINE = 6

_WAIT_AND_CALL = (
    "import sys; text = sys.stdin.buffer.read(); "
    "from {module} import main; main(text, *sys.argv[1:])"
)


def start_cleanup_process(
    module: str, *arguments: str, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process that calls ``main`` of ``module`` once this process has ended.

    ``main`` gets all that was written to the process's input, then ``arguments``. Only this process
    holds the other end of the input, so the system closes it when this process ends. (On Linux, a
    server could get a signal, but already when the thread that started it ends.)

    The process imports ``module`` only then, so that waiting takes almost no time and memory.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _WAIT_AND_CALL.format(module=module), *arguments],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
        start_new_session=True,  # so that Ctrl-C does not end it
    )


def delete_with_processes(folder: Path) -> None:
    """Kill every process that works below ``folder``, and delete the folder."""
    # Repeatedly, since a process may just have started another one.
    while processes := processes_below(folder):
        discard_processes(processes)
    free_shared_memory(folder)
    shutil.rmtree(folder, ignore_errors=True)


def free_shared_memory(folder: Path) -> None:
    """Free the shared memory of PostgreSQL servers below ``folder`` that were killed.

    A system has a limited number of segments, and a killed server leaves one behind. The next start
    on its data would free it, so this is for data that will be deleted.
    """
    for file in folder.glob("**/postmaster.pid"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            segment = int(read_file(file).splitlines()[_SEGMENT_LINE].split()[-1])
            owner = file.parent.stat().st_uid
            # Another user than root may remove its own segments only.
            subprocess.run(
                ["ipcrm", "-m", str(segment)],
                user=owner if os.geteuid() == 0 else None,
                capture_output=True,
                check=False,
            )


def main(_: bytes, folder: str) -> None:
    """Clean up ``folder``."""
    delete_with_processes(Path(folder))
