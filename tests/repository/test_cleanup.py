"""A test run leaves no process and no folder behind, whichever signal ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.embedded.server_processes import is_alive
from helpers.settings import PROJECT
from tests import cleanup
from tests.cleanup import RUN, Run
from tests.waiting import wait_until

# A run with a folder, a process in a new session, and one without the run's environment.
RUNNING = """
import json, os, signal, subprocess, sys, tempfile, time
from tests.cleanup import begin

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, if the tests run under nohup

run = begin()
assert begin() is None, "a process of a run starts no second run"
folder = tempfile.mkdtemp()
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
inherited = subprocess.Popen(sleep, start_new_session=True, cwd="/")
below = subprocess.Popen(sleep, start_new_session=True, cwd=folder, env={})
print(json.dumps([str(run.folder), folder, inherited.pid, below.pid]), flush=True)
time.sleep(600)
"""


def _environ() -> dict[str, str]:
    """Return an environment that belongs to no run, like that of a terminal."""
    return {name: value for name, value in os.environ.items() if name not in (RUN, "TMPDIR")}


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.verify),
        pytest.param(signal.SIGTERM, marks=pytest.mark.verify),
        pytest.param(signal.SIGHUP, marks=pytest.mark.verify),
        signal.SIGKILL,
    ],
)
def test_a_killed_run_leaves_no_process_and_no_folder(sign: signal.Signals) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUNNING],
        cwd=PROJECT,
        env=_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with run:
        assert run.stdout is not None
        folder, below, *pids = json.loads(run.stdout.readline())
        processes = [psutil.Process(pid) for pid in pids]
        assert all(map(is_alive, processes))
        run.send_signal(sign)
    folders = [Path(folder), Path(below).parent]
    wait_until(lambda: not any([*map(is_alive, processes), *(path.exists() for path in folders)]))


def test_a_finished_run_names_the_processes_that_it_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = (RUN, "PYTEST_DEBUG_TEMPROOT", "TMPDIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    run = Run()
    assert Path(os.environ["TMPDIR"]) == run.memory
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as left:
        assert [process.pid for process in cleanup.members(run.folder)] == [left.pid]
        [killed] = run.finish()
    assert killed.endswith("time.sleep(600)")
    assert left.returncode == -signal.SIGKILL
    assert not run.folder.exists()
    assert not run.memory.exists()
    assert not any(name in os.environ for name in names)
