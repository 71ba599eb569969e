"""Grading that is interrupted: it ends at once, leaves nothing behind, and can be gone on with."""

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

from course.grading import grade
from course.grading.grade import Grader
from course.grading.processes import Job, Processes
from course.grading.results import Result
from helpers.settings import PROJECT
from tests.course.grading import building

# A shell lets what it runs in the background ignore SIGINT, and the tests may run there.
HEEDING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def _handed_in(folder: Path, count: int, *, cell: str = "") -> Path:
    """Write ``count`` perfect submissions, with a cell of the students' own."""
    done = building.with_cell(building.solved(building.sums()), cell, before="a-add-visible")
    for number in range(count):
        building.write(done, folder / f"student{number}.ipynb")
    return folder


def test_what_waits_is_not_begun_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Job] = []
    ended = threading.Event()

    def count(_: Processes, job: Job) -> Result:
        begun.append(job)
        if len(begun) == 2:
            ended.wait(60)  # it runs until it is told to end
        return Result(refusal="counted", final=False)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    grader = Grader(building.write(building.sums(), tmp_path / "07.ipynb"), tmp_path / "graded")
    with monkeypatch.context() as patched:
        patched.setattr(grade, "course_copy", lambda: contextlib.nullcontext(tmp_path))
        patched.setattr(Processes, "grade", count)
        patched.setattr(Processes, "end", lambda _: ended.set())
        patched.setattr(Grader, "_store", interrupt)
        with pytest.raises(KeyboardInterrupt):
            grader.grade(_handed_in(tmp_path / "handed-in", 9), progress=False)
    assert ended.is_set()
    assert len(begun) <= 2


def _kernels(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "course.grading.kernel" in one.cmdline():
                found.append(one)
    return found


@pytest.mark.verify
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_a_signal_to_the_grader_alone_ends_all_that_it_has_started(
    tmp_path: Path, sign: signal.Signals
) -> None:
    source = building.write(building.sums(), tmp_path / "07.ipynb")
    folder = _handed_in(tmp_path / "handed-in", 3, cell="import time\ntime.sleep(60)")
    command = [sys.executable, "-c", HEEDING, "-m", "course.grading.grade"]
    command += ["--source", str(source), "--submissions", str(folder)]
    command += ["--to", str(tmp_path / "graded"), "--jobs", "2"]
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o1777)  # others use it too where we are root
        with subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"TMPDIR": temporary},
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as process:
            leader = psutil.Process(process.pid)
            while len(_kernels(leader)) < 2 and process.poll() is None:
                time.sleep(0.05)
            started = leader.children(recursive=True)
            assert len(started) >= 4
            process.send_signal(sign)
            _, said = process.communicate()
        assert process.returncode == 130
        assert "Interrupted. The same command goes on" in said
        assert [one for one in started if one.is_running()] == []
        assert list(Path(temporary).iterdir()) == []
    assert list((tmp_path / "graded" / "results").iterdir()) == []
