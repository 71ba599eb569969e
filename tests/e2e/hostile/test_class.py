"""Grade many hostile submissions: none gains a point, and no other row changes.

All submissions are graded in one run, two at a time. Only those that hang have a short time limit
per cell, so that a busy machine does not affect the others.
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
from course.grading.source import Notebook
from course.grading.student import Limits
from tests.course.grading import building
from tests.e2e.hostile import notebooks as hostile
from tests.e2e.hostile.grading import BUBBLEWRAP, Graded, grade

pytestmark = [pytest.mark.verify, BUBBLEWRAP]

LIMITS = Limits(memory_mib=512)
SHORT = replace(LIMITS, cell_seconds=3)
FILES = {
    "is-empty": (b"", "The file is empty."),
    "is-not-json": (b"I did it on paper.", "The file is not JSON"),
    "is-no-text": (b"\xff\xfe\xfd", "The file is not text"),
    "is-a-list": (b"[1, 2]", "not a notebook"),
    "has-no-cells": (b'{"cells": [], "nbformat": 4}', "None of the project's answer cells"),
    "is-deep": (b'{"cells": ' + b"[" * 10**6, "not JSON"),
}
#: A line of a hidden test.
HIDDEN = "assert add([41, -20])"


def _with_changed_tests() -> Notebook:
    """Half of the work, with tests edited, removed and duplicated."""
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
    """A folder that contains the project's source."""
    top = tmp_path_factory.mktemp("grading")
    building.write(building.sums(), top / "source" / "07.ipynb")
    return top


@pytest.fixture(scope="module")
def graded(top: Path) -> Graded:
    """All kinds of submissions, graded."""
    folder, source = top / "handed-in", top / "source" / "07.ipynb"
    submissions: dict[str, Notebook | bytes] = {
        "perfect": hostile.perfect(),
        "zz-perfect": hostile.perfect(),
        "half-done": hostile.half_done(),
        "untouched": released(building.source(building.sums())),
        "changed-tests": _with_changed_tests(),
        "reordered": _reordered(),
        "survives": hostile.with_cells(*hostile.SURVIVED.values()),
        "survives-for-nothing": hostile.wrong(*hostile.SURVIVED.values()),
        "redefines": hostile.with_cells("NUMBERS = [6]\nlen = lambda _: 21\nAssertionError = int"),
        **{name: hostile.with_cells(cell) for name, (cell, _) in hostile.ENDED.items()},
        **{f"channel-{name}": hostile.wrong(cell) for name, cell in hostile.CHANNEL.items()},
        **{
            f"trick-{name}": building.changed(hostile.wrong(), a_add_answer=text)
            for name, text in hostile.TRICKS.items()
        },
        "'t Hooft": hostile.perfect(),
        "is-deep": FILES["is-deep"][0],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSTRUCTOR_TOKEN", "secret")
        return grade(Grader(source, top / "graded", jobs=2, limits=LIMITS), folder, submissions)


@pytest.fixture(scope="module")
def stopped(top: Path) -> Graded:
    """Submissions that exceed the time limit, graded."""
    grader = Grader(top / "source" / "07.ipynb", top / "stopped", jobs=2, limits=SHORT)
    submissions = {
        "hangs": hostile.with_cells(*hostile.HANGING),
        "loops-stubbornly": hostile.with_cells(hostile.LOOPS_STUBBORNLY),
    }
    return grade(grader, top / "hanging", submissions)


def test_each_student_has_a_row_and_a_page(graded: Graded) -> None:
    submissions = sorted(file.stem for file in graded.folder.iterdir())
    assert sorted(graded.rows) == submissions
    assert graded.report.unfinished == []
    assert all(row["status"].endswith(".") for row in graded.rows.values())


@pytest.mark.parametrize(
    ("student", "points"),
    [
        ("perfect", 20),
        ("zz-perfect", 20),
        ("'t Hooft", 20),
        ("half-done", 14),
        ("untouched", 0),
        ("redefines", 20),
    ],
)
def test_honest_work_gets_its_points(graded: Graded, student: str, points: int) -> None:
    assert graded.rows[student]["automatic"] == str(points), graded.rows[student]["status"]
    assert graded.rows[student]["a by hand"] == ""


def test_attacks_neither_cost_nor_gain_points(graded: Graded) -> None:
    assert graded.rows["survives"]["automatic"] == "20", graded.rows["survives"]["status"]
    assert graded.rows["survives-for-nothing"]["automatic"] == "0"


@pytest.mark.parametrize("name", hostile.SURVIVED)
def test_no_attack_gets_what_it_wants(graded: Graded, name: str) -> None:
    cell = hostile.name_of([*hostile.SURVIVED].index(name))
    for student in ("survives", "survives-for-nothing"):
        failure = graded.report.results[student].failures.get(cell, "")
        assert "SystemError" not in failure
        assert "ended the process" not in failure
        assert len(failure) < 400


@pytest.mark.parametrize("name", [*hostile.TRICKS])
def test_tricks_of_return_values_gain_nothing(graded: Graded, name: str) -> None:
    row = graded.rows[f"trick-{name}"]
    assert row["automatic"] == "0", row["status"]
    assert len(row["status"]) < 2000


@pytest.mark.parametrize("name", hostile.CHANNEL)
def test_attacks_on_the_channel_gain_nothing(graded: Graded, name: str) -> None:
    row = graded.rows[f"channel-{name}"]
    # A reply of one's own is an answer like any other: it is right by chance.
    assert float(row["automatic"]) <= (10 if name == "answers-itself" else 0), row["status"]


@pytest.mark.parametrize("name", hostile.ENDED)
def test_a_cell_that_ends_its_process_costs_nothing_else(graded: Graded, name: str) -> None:
    row = graded.rows[name]
    assert row["automatic"] == "20", row["status"]
    if name != "forks-without-end":
        assert hostile.ENDED[name][1] in row["status"]


def test_cells_that_exceed_the_time_limit_are_stopped(stopped: Graded) -> None:
    result = stopped.report.results["hangs"]
    for number in range(2):
        failure = result.failures[hostile.name_of(number)]
        assert failure == "ran for too long and was stopped"
        assert f"{hostile.name_of(number)} {failure}." in result.events
    # The second time, with twice the limit.
    assert result.verdicts["a-add-hidden"].why == "it ran for more than 6 s and was stopped"
    assert stopped.rows["hangs"]["automatic"] == "14"
    row = stopped.rows["loops-stubbornly"]
    assert "ran for too long and was stopped" in row["status"]
    assert row["automatic"] == "20"


@pytest.mark.parametrize("name", FILES)
def test_invalid_files_are_refused_with_a_reason(top: Path, name: str) -> None:
    content, reason = FILES[name]
    (top / "no-notebook.ipynb").write_bytes(content)
    source = top / "source" / "07.ipynb"
    result = grade_one(Job(top / "no-notebook.ipynb", source, None, LIMITS))
    assert reason in result.refusal
    assert result.final


def test_an_invalid_file_gets_no_points(graded: Graded) -> None:
    assert graded.rows["is-deep"]["automatic"] == ""
    assert FILES["is-deep"][1] in graded.rows["is-deep"]["status"]


@pytest.mark.parametrize(
    ("name", "points", "sentence"),
    [
        ("changed-tests", 14, "a-add-visible: a locked cell that was edited"),
        ("changed-tests", 14, "a-add-hidden: a locked cell that was removed"),
        ("changed-tests", 14, "b-greatest-test: a locked cell that was doubled"),
        ("reordered", 20, "Cells were in another order"),
    ],
)
def test_changed_tests_are_restored(graded: Graded, name: str, points: int, sentence: str) -> None:
    assert graded.rows[name]["automatic"] == str(points)
    assert sentence in graded.rows[name]["status"]


def test_no_process_or_file_is_left_behind(graded: Graded, stopped: Graded) -> None:
    assert graded.left == []
    assert stopped.left == []
    assert not Path("/etc/course-was-here").exists()


def test_feedback_pages_contain_nothing_hidden(graded: Graded) -> None:
    for student in graded.rows:
        page = graded.page(student)
        assert HIDDEN not in page
        assert "INSTRUCTOR_TOKEN" not in page
        assert "<script" not in page
        assert "\x1b" not in page
    assert "failed: the sum of nothing is 0" in graded.page("half-done")


def test_identical_submissions_get_identical_grades_and_pages(graded: Graded) -> None:
    first, second = (graded.rows[student] for student in ("perfect", "zz-perfect"))
    assert first | {"student": "zz-perfect"} == second
    assert graded.page("perfect").replace("perfect", "zz-perfect") == graded.page("zz-perfect")


def test_a_second_run_reuses_all_results(graded: Graded) -> None:
    before = (graded.grader.to / "grades.csv").read_bytes()
    again = graded.grader.grade(graded.folder, progress=False)
    assert again.new == {}
    assert (graded.grader.to / "grades.csv").read_bytes() == before
