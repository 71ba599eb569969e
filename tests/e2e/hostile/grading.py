"""Grade a folder of submissions with a temporary folder of its own."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from course.grading.grade import Grader, Report
from course.grading.source import Notebook
from course.grading.tables import file_name, original
from tests.course.grading import building

#: In CI these tests fail without bubblewrap.
BUBBLEWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None and (sys.platform != "linux" or "CI" not in os.environ),
    reason="bubblewrap is not installed",
)


@dataclass(frozen=True)
class Graded:
    """The graded folder, and the processes and temporary files that were ``left`` behind."""

    grader: Grader
    folder: Path
    report: Report
    left: list[str]

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """The gradebook's rows, by student."""
        with (self.grader.to / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
            return {original(row["student"]): row for row in csv.DictReader(file)}

    def page(self, student: str) -> str:
        """Return a student's feedback page."""
        return (self.grader.to / "feedback" / f"{file_name(student)}.html").read_text("utf-8")


def grade(grader: Grader, folder: Path, submissions: Mapping[str, Notebook | bytes]) -> Graded:
    """Write the ``submissions`` into ``folder``, by student, and grade them.

    Other tests may grade at the same time. Leftovers are therefore found by the temporary folder,
    which all processes of this run have in their environment.
    """
    for name, made in submissions.items():
        place = folder / f"{name}.ipynb"
        if isinstance(made, bytes):
            place.write_bytes(made)
        else:
            building.write(made, place)
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patched:
        Path(temporary).chmod(0o711)  # if we are root, the submissions' accounts must enter it
        patched.setenv("TMPDIR", temporary)
        patched.setattr(tempfile, "tempdir", temporary)
        report = grader.grade(folder, progress=False)
        left = [file.name for file in Path(temporary).iterdir()] + _processes_with(temporary)
    return Graded(grader, folder, report, left)


def _processes_with(temporary: str) -> list[str]:
    """Return the names of the processes whose environment has a path below ``temporary``."""
    return [
        process.name()
        for process in psutil.process_iter(["environ"])
        if process.pid != os.getpid()
        and any(value.startswith(temporary) for value in (process.info["environ"] or {}).values())
    ]
