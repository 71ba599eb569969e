"""Submissions that use the three stores: each has its own servers, and affects no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from course.grading.grade import Grader
from course.grading.student import Limits
from tests.course.grading import building
from tests.e2e.hostile import marketplace
from tests.e2e.hostile.grading import BUBBLEWRAP, Graded, grade

pytestmark = [pytest.mark.verify, BUBBLEWRAP]

LIMITS = Limits(cell_seconds=60)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Graded:
    """All submissions, graded."""
    top = tmp_path_factory.mktemp("grading")
    source = building.write(marketplace.project(), top / "source" / "07.ipynb")
    submissions = {
        "perfect": marketplace.perfect(),
        "half-done": marketplace.half_done(),
        **{name: marketplace.with_cell(cell.text) for name, cell in marketplace.CELLS.items()},
        **{name: marketplace.without_answers(text) for name, text in marketplace.FORGERIES.items()},
        "zz-perfect": marketplace.perfect(),
    }
    grader = Grader(source, top / "graded", jobs=2, limits=LIMITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSTRUCTOR_TOKEN", "secret")
        return grade(grader, top / "in", submissions)


@pytest.mark.parametrize(
    ("student", "points"),
    [
        ("perfect", ("10", "10", "10", "30")),
        ("zz-perfect", ("10", "10", "10", "30")),
        ("half-done", ("10", "10", "4", "24")),
    ],
)
def test_honest_work_gets_its_points(graded: Graded, student: str, points: tuple[str, ...]) -> None:
    row = graded.rows[student]
    assert (row["a"], row["b"], row["c"], row["automatic"]) == points


@pytest.mark.parametrize("name", marketplace.CELLS)
def test_attacks_on_the_stores_cost_the_tasks_that_need_them(graded: Graded, name: str) -> None:
    row, expected = graded.rows[name], marketplace.CELLS[name]
    for sentence in expected.status:
        assert sentence in row["status"]
    assert row["automatic"] == str(expected.points)
    failures = graded.report.results[name].failures
    assert not [failure for failure in failures.values() if "the attack worked" in failure]
    assert not Path("/etc/course-was-here").exists()


@pytest.mark.parametrize("name", marketplace.FORGERIES)
def test_forged_states_gain_nothing(graded: Graded, name: str) -> None:
    assert graded.rows[name]["automatic"] == "0", graded.rows[name]["status"]


def test_no_process_or_file_is_left_behind(graded: Graded) -> None:
    assert graded.left == []


def test_identical_submissions_get_identical_grades_and_pages(graded: Graded) -> None:
    first, second = (graded.rows[student] for student in ("perfect", "zz-perfect"))
    assert first | {"student": "zz-perfect"} == second
    assert graded.page("perfect").replace("perfect", "zz-perfect") == graded.page("zz-perfect")
