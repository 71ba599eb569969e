"""End the kernels of a JupyterLab that has died, and delete its folder for running kernels.

``start_cleanup_process`` calls ``main``. A kernel looks once a second whether JupyterLab still
runs, but not while it executes a long function that is written in C.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path

import psutil

from helpers.embedded.server_processes import stop_processes


def main(_: bytes, folder: str) -> None:
    """End the processes whose connection file is in ``folder``, and delete ``folder``."""
    while kernels := _kernels(Path(folder)):
        stop_processes(kernels, signal.SIGKILL, seconds=10)
    shutil.rmtree(folder, ignore_errors=True)


def _kernels(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(Path(part).parent == folder for part in process.cmdline()):
                found.append(process)
    return found
