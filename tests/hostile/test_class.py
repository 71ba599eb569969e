"""A class in which everything goes wrong: every row says what happened, and no other row changes.

All submissions are graded in one go, two at a time, so that each has neighbours.
"""

from __future__ import annotations

import copy
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from helpers.grading.confine import ACCOUNTS
from helpers.grading.grade import Grader, Report
from helpers.grading.release import released
from helpers.grading.running import Limits
from helpers.grading.sandbox import FOLDERS
from helpers.grading.source import Notebook
from tests.grading import building
from tests.hostile import notebooks as hostile

LIMITS = Limits(cell_seconds=8, notebook_seconds=60, memory_mib=512)
FILES = {
    "is-empty": (b"", "The file is empty."),
    "is-not-json": (b"I did it on paper.", "The file is not JSON"),
    "is-no-text": (b"\xff\xfe\xfd", "The file is not text"),
    "is-a-list": (b"[1, 2]", "no notebook"),
    "has-no-cells": (b'{"cells": [], "nbformat": 4}', "None of the project's answer cells"),
    "is-deep": (b'{"cells": ' + b"[" * 10**6, "not JSON"),
}


@dataclass(frozen=True)
class Graded:
    """A folder that was graded: its rows by student, and where everything is."""

    grader: Grader
    folder: Path
    report: Report

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """The gradebook's rows, by student."""
        with (self.grader.to / "grades.csv").open(encoding="utf-8", newline="") as file:
            return {row["student"]: row for row in csv.DictReader(file)}


def _edited() -> Notebook:
    return building.changed(hostile.half_done(), a_add_hidden="pass", a_add_visible="exit()")


def _removed() -> Notebook:
    made = hostile.half_done()
    made["cells"] = [cell for cell in made["cells"] if "hidden" not in cell["id"]]
    return made


def _reordered() -> Notebook:
    made = hostile.perfect()
    made["cells"].reverse()
    return made


def _doubled() -> Notebook:
    made = hostile.half_done()
    made["cells"] += copy.deepcopy(made["cells"])
    return made


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Graded:
    """Everything that can be handed in, graded."""
    top = tmp_path_factory.mktemp("grading")
    folder, source = top / "handed-in", building.write(building.sums(), top / "source" / "07.ipynb")
    notebooks = {
        "perfect": hostile.perfect(),
        "zz-perfect": hostile.perfect(),
        "half-done": hostile.half_done(),
        "untouched": released(building.source(building.sums())),
        "tests-edited": _edited(),
        "tests-removed": _removed(),
        "tests-doubled": _doubled(),
        "reordered": _reordered(),
        "reads-files": hostile.with_cell(hostile.reading(source, folder / "perfect.ipynb")),
        **{name: hostile.with_cell(one.text) for name, one in hostile.CELLS.items()},
    }
    for name, made in notebooks.items():
        building.write(made, folder / f"{name}.ipynb")
    for name, (content, _) in FILES.items():
        (folder / f"{name}.ipynb").write_bytes(content)
    grader = Grader(source, top / "graded", jobs=2, limits=LIMITS)
    return Graded(grader, folder, grader.grade(folder, progress=False))


def test_everybody_has_a_row_and_a_page(graded: Graded) -> None:
    handed_in = sorted(file.stem for file in graded.folder.iterdir())
    assert sorted(graded.rows) == handed_in
    pages = sorted(file.stem for file in (graded.grader.to / "feedback").iterdir())
    assert pages == handed_in
    assert graded.report.unfinished == []
    assert all(row["status"].endswith(".") for row in graded.rows.values())


@pytest.mark.parametrize(
    ("student", "points"),
    [("perfect", 20), ("zz-perfect", 20), ("half-done", 14), ("untouched", 0)],
)
def test_honest_work_gets_what_it_is_worth(graded: Graded, student: str, points: int) -> None:
    assert graded.rows[student]["automatic"] == str(points)
    assert graded.rows[student]["a by hand"] == ""


@pytest.mark.parametrize("name", hostile.CELLS)
def test_what_must_not_be_done_costs_what_it_costs_and_is_said(graded: Graded, name: str) -> None:
    row, expected = graded.rows[name], hostile.CELLS[name]
    for sentence in expected.says:
        assert sentence in row["status"]
    assert row["automatic"] == str(expected.points)


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_notebook_is_said(graded: Graded, name: str) -> None:
    row = graded.rows[name]
    assert FILES[name][1] in row["status"]
    assert row["automatic"] == "0"


@pytest.mark.parametrize(
    ("name", "points", "sentence"),
    [
        ("tests-edited", 14, "a-add-visible, a-add-hidden: a locked cell that was edited"),
        ("tests-removed", 14, "a-add-hidden: a locked cell that was removed"),
        ("tests-doubled", 14, "a locked cell that was doubled"),
        ("reordered", 20, "Cells were in another order"),
    ],
)
def test_tests_are_restored(graded: Graded, name: str, points: int, sentence: str) -> None:
    assert graded.rows[name]["automatic"] == str(points)
    assert sentence in graded.rows[name]["status"]


def test_no_file_of_the_grader_s_can_be_read(graded: Graded) -> None:
    row = graded.rows["reads-files"]
    assert "failed: PermissionError" in row["status"]
    assert row["automatic"] == "20"


def test_nothing_is_left_behind(graded: Graded) -> None:
    left = [
        process.name()
        for process in psutil.process_iter(["username"])
        if str(process.info["username"]).startswith(ACCOUNTS)
    ]
    assert left == []
    assert list(Path(tempfile.gettempdir()).glob(f"{FOLDERS}*")) == []
    assert not Path("/etc/course-was-here").exists()


def test_no_page_shows_a_hidden_test(graded: Graded) -> None:
    hidden = "assert add([41, -20])"
    pages = [file.read_text("utf-8") for file in (graded.grader.to / "feedback").iterdir()]
    assert not [page for page in pages if hidden in page]
    page = (graded.grader.to / "feedback" / "half-done.html").read_text("utf-8")
    assert "failed: the sum of nothing is 0" in page


def test_a_second_run_grades_what_has_changed_and_nothing_else(graded: Graded) -> None:
    before = (graded.grader.to / "grades.csv").read_bytes()
    again = graded.grader.grade(graded.folder, progress=False)
    assert again.new == {}
    assert (graded.grader.to / "grades.csv").read_bytes() == before
    building.write(hostile.perfect(), graded.folder / "half-done.ipynb")
    try:
        third = graded.grader.grade(graded.folder, progress=False)
        assert [*third.new] == ["half-done"]
        assert graded.rows["half-done"]["automatic"] == "20"
    finally:
        building.write(hostile.half_done(), graded.folder / "half-done.ipynb")
