"""Each lesson's exercises refuse the stub and every wrong answer of the bank, in words.

A class for each lesson: its tests share one run of the notebook, and another process can run
another lesson meanwhile.
"""

from __future__ import annotations

import json

import pytest

from helpers.authoring.exercises import find_exercises
from helpers.settings import PROJECT
from tests.exercises.answering import Answered, answer_all
from tests.exercises.bank import wrong_answers


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
    """What was said of all answers: the lesson is run once for its class."""
    lesson = request.cls.lesson
    return answer_all(
        PROJECT / "notebooks" / f"{lesson}.ipynb",
        wrong_answers(lesson),
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
        assert verdict.kind == "accepted", verdict


class TestCitusSharding(ALesson):
    """Lesson 01."""

    lesson = "01_citus_sharding"


class TestMongoMetadata(ALesson):
    """Lesson 02."""

    lesson = "02_mongodb_metadata"


class TestRedisStock(ALesson):
    """Lesson 03."""

    lesson = "03_redis_stock"


class TestAppLayerJoins(ALesson):
    """Lesson 04."""

    lesson = "04_app_layer_joins"


class TestRestApi(ALesson):
    """Lesson 05."""

    lesson = "05_rest_api"


@pytest.mark.servers
class TestFailureDrills(ALesson):
    """Lesson 06."""

    lesson = "06_failure_drills"
