"""Test runs that are ended while servers, kernels and test processes work: nothing of them is left.

``tests/unit/test_cleanup.py`` shows the same of other signals, with plain processes.
"""

from __future__ import annotations

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


HERE = "tests/stores/test_by_address.py"
LESSON = "notebooks/05_rest_api.ipynb"


def _folder(run: psutil.Process) -> Path | None:
    """Return the folder of a run, once it has started something."""
    for process in run.children(recursive=True):
        try:
            folder = process.environ().get(RUN)
        except psutil.Error:
            continue
        if folder:
            return Path(folder)
    return None


def _programs(folder: Path | None) -> str:
    lines = []
    for process in members(folder) if folder else ():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return "\n".join(lines)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_servers_kernels_and_test_processes_end_with_the_run(sign: signal.Signals) -> None:
    """SIGINT goes to the whole group, as Ctrl-C does, SIGKILL to the leading process alone."""
    leader = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-n", "2", "--nbval", HERE, LESSON],
        cwd=PROJECT,
        env={name: os.environ[name] for name in ("PATH", "HOME")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    run = psutil.Process(leader.pid)
    wanted = ("postgres", "valkey-server", "secantus", "ipykernel_launcher", "helpers serve")
    wait_until(lambda: all(name in _programs(_folder(run)) for name in wanted))
    folder = _folder(run)
    assert folder is not None
    if sign == signal.SIGINT:
        os.killpg(leader.pid, sign)
    else:
        leader.send_signal(sign)
    leader.wait()
    wait_until(lambda: not (members(folder) or folder.exists()))
