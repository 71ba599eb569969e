"""The course's own project, graded: what its perfect and its half-done version get."""

from __future__ import annotations

import pytest

from course.grading.grade import Grader
from course.grading.source import read_source
from helpers.settings import PROJECT
from tests.course.grading import building
from tests.e2e.hostile.grading import LINUX, Graded, grade

pytestmark = [pytest.mark.verify, LINUX]

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
def graded(tmp_path_factory: pytest.TempPathFactory) -> Graded:
    """A perfect notebook with a cell that drops what earlier tasks have made, and half of one."""
    top = tmp_path_factory.mktemp("project")
    source = read_source(SOURCE)
    perfect = building.solved(source.notebook)
    handed_in = {
        "half-done": building.solved(source.notebook, tasks="abc"),
        "spoiled": building.with_cell(
            perfect, f"pg = shop.postgres\n{DROPPED}", before="b-documents-visible"
        ),
    }
    return grade(Grader(SOURCE, top / "graded", jobs=2), top / "handed-in", handed_in)


def _points(done: str) -> dict[str, str]:
    """Return what stands in the row of a student who did these tasks and no other."""
    source = read_source(SOURCE)
    points = {
        task: sum(test.points for test in source.tests(task)) if task in done else 0.0
        for task in TASKS
    }
    row = points | {"automatic": sum(points.values())}
    return {name: f"{found:g}" for name, found in row.items()}


@pytest.mark.parametrize(("student", "done"), [("spoiled", TASKS), ("half-done", "abc")])
def test_each_task_gets_its_points(graded: Graded, student: str, done: str) -> None:
    row = graded.rows[student]
    assert {name: row[name] for name in _points(done)} == _points(done), row["status"]
    assert [row[f"{task} by hand"] for task in TASKS] == [""] * 6


def test_what_is_left_is_for_a_person_to_grade(graded: Graded) -> None:
    by_hand = sum(cell.points for cell in read_source(SOURCE).manual())
    assert float(graded.rows["spoiled"]["automatic"]) + by_hand == 100


def test_nothing_is_left_behind(graded: Graded) -> None:
    assert graded.left == []
