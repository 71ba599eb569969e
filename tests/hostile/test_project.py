"""The course's own project, graded: what its perfect, half-done and untouched versions get."""

from __future__ import annotations

import csv

import pytest

from helpers.grading.grade import Grader
from helpers.grading.release import released
from helpers.grading.source import read_source
from helpers.settings import PROJECT
from tests.grading import building

SOURCE = PROJECT / "project" / "07_project.ipynb"
TASKS = "abcdef"
# As a student's own cell, behind the answer to task b.
DROPPED = """
for table in pg.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
    pg.execute(f"DROP TABLE {table[0]} CASCADE")
shop.mongo.client.drop_database(shop.mongo.name)
shop.redis.flushall()
shop.close()
del market, SEED
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The gradebook's rows, by student."""
    top = tmp_path_factory.mktemp("project")
    source = read_source(SOURCE)
    perfect = building.solved(source.notebook)
    spoiled = building.with_cell(
        perfect, f"pg = shop.postgres\n{DROPPED}", before="b-documents-visible"
    )
    handed_in = {
        "half-done": building.solved(source.notebook, tasks="abc"),
        "perfect": perfect,
        "spoiled": spoiled,
        "untouched": released(source),
    }
    for name, made in handed_in.items():
        building.write(made, top / "handed-in" / f"{name}.ipynb")
    grader = Grader(SOURCE, top / "graded", jobs=2)
    grader.grade(top / "handed-in", progress=False)
    with (grader.to / "grades.csv").open(encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def _points(done: str) -> dict[str, str]:
    """Return what stands in the row of a student who did these tasks and no other."""
    source = read_source(SOURCE)
    points = {
        task: sum(test.points for test in source.tests(task)) if task in done else 0.0
        for task in TASKS
    }
    row = points | {"automatic": sum(points.values())}
    return {name: f"{found:g}" for name, found in row.items()}


@pytest.mark.parametrize(
    ("student", "done"),
    [("perfect", TASKS), ("half-done", "abc"), ("untouched", ""), ("spoiled", TASKS)],
)
def test_each_task_gets_its_points(
    rows: dict[str, dict[str, str]], student: str, done: str
) -> None:
    row = rows[student]
    assert {name: row[name] for name in _points(done)} == _points(done), row["status"]
    assert [row[f"{task} by hand"] for task in TASKS] == [""] * 6


def test_what_is_left_is_for_a_person_to_grade(rows: dict[str, dict[str, str]]) -> None:
    by_hand = sum(cell.points for cell in read_source(SOURCE).manual())
    assert float(rows["perfect"]["automatic"]) + by_hand == 100
