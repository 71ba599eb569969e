"""Submissions over the three stores: each has its own, and nobody else's suffer."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from helpers.grading.grade import Grader
from helpers.grading.release import released
from helpers.grading.running import Limits
from tests.grading import building
from tests.hostile import marketplace

LIMITS = Limits(cell_seconds=60, notebook_seconds=240)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Grader, Path]:
    """Everything that can be handed in, graded twice, into two folders."""
    top = tmp_path_factory.mktemp("grading")
    source = building.write(marketplace.project(), top / "source" / "07.ipynb")
    notebooks = {
        "perfect": marketplace.perfect(),
        "half-done": marketplace.half_done(),
        "untouched": released(building.source(marketplace.project())),
        **{name: marketplace.with_cell(one.text) for name, one in marketplace.CELLS.items()},
        "zz-perfect": marketplace.perfect(),
    }
    for name, made in notebooks.items():
        building.write(made, top / "handed-in" / f"{name}.ipynb")
    grader = Grader(source, top / "graded", jobs=2, limits=LIMITS)
    grader.grade(top / "handed-in", progress=False)
    return grader, top / "handed-in"


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("student", "points"),
    [
        ("perfect", ("10", "10", "10", "30")),
        ("zz-perfect", ("10", "10", "10", "30")),
        ("half-done", ("10", "10", "4", "24")),
        ("untouched", ("0", "0", "0", "0")),
    ],
)
def test_honest_work_gets_what_it_is_worth(
    graded: tuple[Grader, Path], student: str, points: tuple[str, ...]
) -> None:
    row = _rows(graded[0].to)[student]
    assert (row["a"], row["b"], row["c"], row["automatic"]) == points


@pytest.mark.parametrize("name", marketplace.CELLS)
def test_whoever_turns_against_the_stores_loses_what_needs_them(
    graded: tuple[Grader, Path], name: str
) -> None:
    row, expected = _rows(graded[0].to)[name], marketplace.CELLS[name]
    assert expected.says in row["status"]
    assert row["automatic"] == str(expected.points)
    assert not Path("/etc/course-was-here").exists()


def test_two_runs_give_the_same_grades_and_the_same_pages(
    graded: tuple[Grader, Path], tmp_path: Path
) -> None:
    first, folder = graded
    second = Grader(first.source, tmp_path / "again", jobs=2, limits=first.limits)
    report = second.grade(folder, progress=False)
    assert len(report.new) == len(_rows(first.to))
    for place in ("grades.csv", *(f"feedback/{student}.html" for student in report.new)):
        assert (first.to / place).read_bytes() == (second.to / place).read_bytes()
