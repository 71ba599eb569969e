"""The course's project, graded: a perfect and a half-done submission."""

from __future__ import annotations

import pytest

from course.grading.grade import Grader
from course.grading.source import read_source
from helpers.settings import PROJECT
from tests.course.grading import building
from tests.e2e.hostile.grading import BUBBLEWRAP, Graded, grade

pytestmark = [pytest.mark.verify, BUBBLEWRAP]

SOURCE = PROJECT / "project" / "07_project.ipynb"
TASKS = "abcdef"
# A cell that the student added after the answer to task b.
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
    """A perfect notebook with a cell that drops the data of earlier tasks, and a half-done one."""
    top = tmp_path_factory.mktemp("project")
    source = read_source(SOURCE)
    perfect = building.solved(source.notebook)
    submissions = {
        "half-done": building.solved(source.notebook, tasks="abc"),
        "drops-data": building.with_cell(
            perfect, f"pg = shop.postgres\n{DROPPED}", before="b-rule-visible"
        ),
    }
    return grade(Grader(SOURCE, top / "graded", jobs=2), top / "submissions", submissions)


def _points(done: str) -> dict[str, str]:
    """Return the points in the row of a student who solved only these tasks."""
    source = read_source(SOURCE)
    points = {
        task: sum(test.points for test in source.tests(task)) if task in done else 0.0
        for task in TASKS
    }
    row = points | {"automatic": sum(points.values())}
    return {name: f"{found:g}" for name, found in row.items()}


@pytest.mark.parametrize(("student", "done"), [("drops-data", TASKS), ("half-done", "abc")])
def test_each_solved_task_gets_its_points(graded: Graded, student: str, done: str) -> None:
    row = graded.rows[student]
    assert {name: row[name] for name in _points(done)} == _points(done), row["status"]
    assert [row[f"{task} by hand"] for task in TASKS] == [""] * 6


def test_automatic_and_manual_points_add_up_to_100(graded: Graded) -> None:
    by_hand = sum(cell.points for cell in read_source(SOURCE).manual())
    assert float(graded.rows["drops-data"]["automatic"]) + by_hand == 100


def test_no_process_or_file_is_left_behind(graded: Graded) -> None:
    assert graded.left == []
