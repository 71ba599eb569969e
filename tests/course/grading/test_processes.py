"""Interrupted grading: it ends at once, leaves nothing behind, and can be continued."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from course.grading.grade import Grader
from course.grading.processes import Job, Processes
from course.grading.results import Result
from helpers.errors import GradingError
from helpers.settings import PROJECT
from tests.course.grading import building
from tests.e2e.hostile.grading import BUBBLEWRAP

# Shells let background processes ignore SIGINT, and the tests may run in one.
WITH_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def _write_submissions(folder: Path, count: int, *, cell: str = "") -> Path:
    """Write ``count`` perfect submissions with an additional cell."""
    done = building.with_cell(building.solved(building.sums()), cell, before="a-add-visible")
    for number in range(count):
        building.write(done, folder / f"student{number}.ipynb")
    return folder


def test_queued_submissions_are_not_started_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_jobs: list[Job] = []
    ended = threading.Event()

    def count(_: Processes, job: Job) -> Result:
        started_jobs.append(job)
        if len(started_jobs) == 2:
            ended.wait(60)  # runs until it is terminated
        return Result(refusal="counted")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    grader = Grader(building.write(building.sums(), tmp_path / "07.ipynb"), tmp_path / "graded")
    with monkeypatch.context() as patched:
        patched.setattr(Processes, "grade", count)
        patched.setattr(Processes, "end", lambda _: ended.set())
        patched.setattr(Grader, "_store", interrupt)
        with pytest.raises(KeyboardInterrupt):
            grader.grade(_write_submissions(tmp_path / "submissions", 9), progress=False)
    assert ended.is_set()
    assert len(started_jobs) <= 2


def _students(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may have ended
            if "course.grading.student_process" in child.cmdline() and child.name() != "bwrap":
                found.append(child)
    return found


@pytest.mark.verify
@BUBBLEWRAP
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_a_signal_to_the_grader_ends_all_its_processes(
    tmp_path: Path, sign: signal.Signals
) -> None:
    source = building.write(building.sums(), tmp_path / "07.ipynb")
    folder = _write_submissions(tmp_path / "submissions", 3, cell="import time\ntime.sleep(60)")
    command = [sys.executable, "-c", WITH_SIGINT, "-m", "course.grading.grade"]
    command += ["--source", str(source), "--submissions", str(folder)]
    command += ["--to", str(tmp_path / "graded"), "--jobs", "2"]
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o1777)  # submissions run as other users if we are root
        with subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"TMPDIR": temporary},
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as process:
            leader = psutil.Process(process.pid)
            while len(_students(leader)) < 2 and process.poll() is None:
                time.sleep(0.05)
            started = leader.children(recursive=True)
            assert len(started) >= 4
            process.send_signal(sign)
            _, output = process.communicate()
        assert process.returncode == 130
        assert "Interrupted. The same command goes on" in output
        assert psutil.wait_procs(started, timeout=60)[1] == []
        assert list(Path(temporary).iterdir()) == []
    assert list((tmp_path / "graded" / "results").iterdir()) == []


def test_a_separate_account_cannot_read_what_is_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that forbids bubblewrap."""
    monkeypatch.setenv("ISOLATION", "account")
    source = building.write(building.sums(), tmp_path / "source" / "07.ipynb")
    (tmp_path / "source").chmod(0o700)
    cell = f"print(open({str(source)!r}).read())"
    folder = _write_submissions(tmp_path / "submissions", 1, cell=cell)
    grader = Grader(source, tmp_path / "graded")
    if os.geteuid() != 0:
        with pytest.raises(GradingError, match="grade as root"):
            grader.grade(folder, progress=False)
        return
    (result,) = grader.grade(folder, progress=False).results.values()
    assert [failure[:23] for failure in result.failures.values()] == ["failed: PermissionError"]
    assert all(verdict.passed for verdict in result.verdicts.values())
