"""Interrupted and killed test runs leave no servers, kernels or test processes.

``tests/repository/test_cleanup.py`` tests other signals, with plain processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.settings import PROJECT
from tests.cleanup import RUN, members
from tests.waiting import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.verify]


OPTIONS = ("-n", "2", "--dist", "loadscope", "--nbval")
HERE = "tests/e2e/servers/test_by_address.py"
LESSON = "notebooks/05_rest_api.ipynb"


def _folders(run: psutil.Process) -> list[Path]:
    """Return the folders of a run once it has started a process, else an empty list."""
    for process in run.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            environ = process.environ()
            if RUN in environ:
                return [Path(environ[RUN]), Path(environ["TMPDIR"])]
    return []


def _programs(run: psutil.Process) -> str:
    """Return the command lines of the processes that belong to a run."""
    lines = []
    folders = _folders(run)
    for process in members(*folders) if folders else ():
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return "\n".join(lines)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_servers_kernels_and_test_processes_end_with_the_run(sign: signal.Signals) -> None:
    """SIGINT goes to the process group, as with Ctrl-C; SIGKILL to the main process only."""
    leader = subprocess.Popen(
        [sys.executable, "-m", "pytest", *OPTIONS, HERE, LESSON],
        cwd=PROJECT,
        env={name: os.environ[name] for name in ("PATH", "HOME")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    run = psutil.Process(leader.pid)
    expected = ("postgres", "valkey-server", "secantus", "ipykernel_launcher", "helpers serve")
    try:
        wait_until(lambda: all(name in _programs(run) for name in expected))
        folders = _folders(run)
        if sign == signal.SIGINT:
            os.killpg(leader.pid, sign)
        else:
            leader.send_signal(sign)
        leader.wait(60)
    finally:
        leader.kill()
        leader.wait()
    wait_until(lambda: not (members(*folders) or any(folder.exists() for folder in folders)))
