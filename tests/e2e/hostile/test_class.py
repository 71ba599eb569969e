"""A class in which everything goes wrong: every row says what happened, and no other row changes.

All submissions are graded in one go, two at a time, so that each has neighbours. Only those that
hang have a short limit for a cell: the others need not be quick on a busy machine.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from course.grading.grade import Grader
from course.grading.processes import Job
from course.grading.processes import grade as grade_one
from course.grading.release import released
from course.grading.running import Limits
from course.grading.source import Notebook
from tests.course.grading import building
from tests.e2e.hostile import notebooks as hostile
from tests.e2e.hostile.grading import LINUX, Graded, grade

pytestmark = [pytest.mark.verify, LINUX]

LIMITS = Limits(memory_mib=512)
SHORT = replace(LIMITS, cell_seconds=3)
FILES = {
    "is-empty": (b"", "The file is empty."),
    "is-not-json": (b"I did it on paper.", "The file is not JSON"),
    "is-no-text": (b"\xff\xfe\xfd", "The file is not text"),
    "is-a-list": (b"[1, 2]", "no notebook"),
    "has-no-cells": (b'{"cells": [], "nbformat": 4}', "None of the project's answer cells"),
    "is-deep": (b'{"cells": ' + b"[" * 10**6, "not JSON"),
}


def _spoilt() -> Notebook:
    """Half of the work, and tests that were edited, removed and doubled."""
    made = building.changed(hostile.half_done(), a_add_visible="exit()")
    made["cells"] = [cell for cell in made["cells"] if "hidden" not in cell["id"]]
    made["cells"] += copy.deepcopy(made["cells"])
    return made


def _reordered() -> Notebook:
    made = hostile.perfect()
    made["cells"].reverse()
    return made


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for everything; the project's source is in it."""
    top = tmp_path_factory.mktemp("grading")
    building.write(building.sums(), top / "source" / "07.ipynb")
    return top


@pytest.fixture(scope="module")
def graded(top: Path) -> Graded:
    """Everything that can be handed in, graded."""
    folder, source = top / "handed-in", top / "source" / "07.ipynb"
    handed_in: dict[str, Notebook | bytes] = {
        "perfect": hostile.perfect(),
        "zz-perfect": hostile.perfect(),
        "half-done": hostile.half_done(),
        "untouched": released(building.source(building.sums())),
        "tests-spoilt": _spoilt(),
        "reordered": _reordered(),
        "survives": hostile.surviving(source, folder / "perfect.ipynb"),
        **{name: hostile.with_cells(one.text) for name, one in hostile.CELLS.items()},
        "is-deep": FILES["is-deep"][0],
    }
    return grade(Grader(source, top / "graded", jobs=2, limits=LIMITS), folder, handed_in)


@pytest.fixture(scope="module")
def stopped(top: Path) -> Graded:
    """What runs for longer than it may, graded."""
    grader = Grader(top / "source" / "07.ipynb", top / "stopped", jobs=2, limits=SHORT)
    handed_in = {
        "hangs": hostile.with_cells(*hostile.HANGING),
        "loops-stubbornly": hostile.with_cells(hostile.LOOPS_STUBBORNLY),
    }
    return grade(grader, top / "hanging", handed_in)


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


def test_what_a_notebook_survives_costs_nothing(graded: Graded) -> None:
    assert graded.rows["survives"]["automatic"] == str(hostile.ALL)
    events = graded.report.results["survives"].events
    for replaced in ("builtins.", "helpers.explain"):
        (event,) = (one for one in events if one.startswith(f"The notebook replaced {replaced}"))
        assert "put back" in event


@pytest.mark.parametrize("name", hostile.SURVIVED)
def test_what_a_notebook_survives_is_said(graded: Graded, name: str) -> None:
    failures = graded.report.results["survives"].failures
    said = failures.get(hostile.name_of([*hostile.SURVIVED].index(name)), "")
    _, expected = hostile.SURVIVED[name]
    assert expected in said
    assert bool(expected) == bool(said)


def test_no_file_of_the_grader_s_can_be_read(graded: Graded) -> None:
    said = graded.report.results["survives"].failures
    assert said[hostile.name_of(len(hostile.SURVIVED))].startswith("failed: PermissionError")


def test_what_takes_too_long_is_stopped(stopped: Graded) -> None:
    result = stopped.report.results["hangs"]
    for number, says in enumerate(("ran for more than 3 s and was stopped",) * 2):
        assert result.failures[hostile.name_of(number)] == says
        assert f"{hostile.name_of(number)} {says}." in result.events
    assert result.verdicts["a-add-hidden"].why == "it ran for more than 3 s and was stopped"
    assert stopped.rows["hangs"]["automatic"] == "14"
    row = stopped.rows["loops-stubbornly"]
    assert "ran for more than 3 s and did not let itself be interrupted" in row["status"]
    assert row["automatic"] == "0"


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_notebook_is_said(top: Path, name: str) -> None:
    content, says = FILES[name]
    (top / "no-notebook.ipynb").write_bytes(content)
    source = top / "source" / "07.ipynb"
    result = grade_one(Job(top / "no-notebook.ipynb", source, top, LIMITS))
    assert says in result.refusal
    assert result.final


def test_what_is_no_notebook_gets_no_points(graded: Graded) -> None:
    assert graded.rows["is-deep"]["automatic"] == "0"
    assert FILES["is-deep"][1] in graded.rows["is-deep"]["status"]


@pytest.mark.parametrize(
    ("name", "points", "sentence"),
    [
        ("tests-spoilt", 14, "a-add-visible: a locked cell that was edited"),
        ("tests-spoilt", 14, "a-add-hidden: a locked cell that was removed"),
        ("tests-spoilt", 14, "b-greatest-test: a locked cell that was doubled"),
        ("reordered", 20, "Cells were in another order"),
    ],
)
def test_tests_are_restored(graded: Graded, name: str, points: int, sentence: str) -> None:
    assert graded.rows[name]["automatic"] == str(points)
    assert sentence in graded.rows[name]["status"]


def test_nothing_is_left_behind(graded: Graded, stopped: Graded) -> None:
    assert graded.left == []
    assert stopped.left == []
    assert not Path("/etc/course-was-here").exists()


def test_no_page_shows_a_hidden_test(graded: Graded) -> None:
    hidden = "assert add([41, -20])"
    assert not [student for student in graded.rows if hidden in graded.page(student)]
    assert "failed: the sum of nothing is 0" in graded.page("half-done")


def test_two_runs_of_one_notebook_give_the_same_grades_and_the_same_page(graded: Graded) -> None:
    first, second = (graded.rows[student] for student in ("perfect", "zz-perfect"))
    assert first | {"student": "zz-perfect"} == second
    assert graded.page("perfect").replace("perfect", "zz-perfect") == graded.page("zz-perfect")


def test_a_second_run_grades_nothing_again(graded: Graded) -> None:
    before = (graded.grader.to / "grades.csv").read_bytes()
    again = graded.grader.grade(graded.folder, progress=False)
    assert again.new == {}
    assert (graded.grader.to / "grades.csv").read_bytes() == before
