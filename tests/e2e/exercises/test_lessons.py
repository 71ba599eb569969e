"""Each lesson's exercises refuse the stub and every wrong answer of the bank, in words.

A class for each lesson: its tests share one kernel, which has run what the exercises need of the
lesson, and another process can try another lesson meanwhile. Lesson 03 takes the shortest: `make
test` tries it alone.
"""

from __future__ import annotations

import itertools
import json

import pytest

from course.authoring.exercises import find_exercises
from helpers.settings import PROJECT
from tests.e2e.exercises.answering import Answered, answer_all
from tests.e2e.exercises.bank import needed_cells, wrong_answers


def _names(lesson: str) -> list[str]:
    path = PROJECT / "notebooks" / f"{lesson}.ipynb"
    return [one.name for one in find_exercises(json.loads(path.read_text("utf-8")))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    lesson = metafunc.cls.lesson
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", _names(lesson))
    if "title" in metafunc.fixturenames:
        metafunc.parametrize("title", [one.title for one in wrong_answers(lesson)])


@pytest.fixture(scope="class")
def answered(request: pytest.FixtureRequest, process_number: int, redis_number: int) -> Answered:
    """What was said of all answers: they are tried once for the class."""
    lesson = request.cls.lesson
    return answer_all(
        PROJECT / "notebooks" / f"{lesson}.ipynb",
        wrong_answers(lesson),
        itertools.chain(*needed_cells(lesson).values()),
        database=f"exercises_{process_number}",
        redis_number=redis_number,
    )


class ALesson:
    """What must hold of every lesson; ``lesson`` is the notebook's name."""

    lesson: str

    def test_the_stub_is_refused(self, answered: Answered, name: str) -> None:
        verdict = answered.stubs[name]
        assert verdict.kind == "refused", verdict
        assert verdict.says_why, verdict

    def test_the_wrong_answer_is_refused(self, answered: Answered, title: str) -> None:
        verdict = answered.wrong[title]
        assert verdict.kind == "refused", verdict
        assert verdict.says_why, verdict

    def test_the_solution_is_accepted(self, answered: Answered, name: str) -> None:
        verdict = answered.solutions[name]
        ran = ", ".join(answered.ran)
        assert verdict.kind == "accepted", f"{verdict}. Of the lesson, these cells have run: {ran}."


@pytest.mark.verify
class TestCitusSharding(ALesson):
    """Lesson 01."""

    lesson = "01_citus_sharding"


@pytest.mark.verify
class TestMongoMetadata(ALesson):
    """Lesson 02."""

    lesson = "02_mongodb_metadata"


class TestRedisStock(ALesson):
    """Lesson 03."""

    lesson = "03_redis_stock"


@pytest.mark.verify
class TestAppLayerJoins(ALesson):
    """Lesson 04."""

    lesson = "04_app_layer_joins"


@pytest.mark.verify
class TestRestApi(ALesson):
    """Lesson 05."""

    lesson = "05_rest_api"


@pytest.mark.servers
@pytest.mark.verify
class TestFailureDrills(ALesson):
    """Lesson 06."""

    lesson = "06_failure_drills"
