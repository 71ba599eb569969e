"""The exercises of each lesson refuse the stub and every wrong answer in words.

Each lesson has a class, whose tests share one kernel, so that lessons can be tested in parallel.
Lesson 03 is the fastest, and the only one in `make test`.
"""

from __future__ import annotations

import itertools
import json

import pytest

from helpers.settings import PROJECT
from tests.e2e.exercises.answering import Answered, answer_all
from tests.e2e.exercises.bank import needed_cells, wrong_answers
from tests.lessons.exercises import find_exercises


def _names(lesson: str) -> list[str]:
    path = PROJECT / "notebooks" / f"{lesson}.ipynb"
    return [exercise.name for exercise in find_exercises(json.loads(path.read_text("utf-8")))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    lesson = metafunc.cls.lesson
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", _names(lesson))
    if "title" in metafunc.fixturenames:
        metafunc.parametrize("title", [answer.title for answer in wrong_answers(lesson)])


@pytest.fixture(scope="class")
def answered(request: pytest.FixtureRequest, process_number: int, redis_number: int) -> Answered:
    """The verdicts on all answers, checked once per class."""
    lesson = request.cls.lesson
    return answer_all(
        PROJECT / "notebooks" / f"{lesson}.ipynb",
        wrong_answers(lesson),
        itertools.chain(*needed_cells(lesson).values()),
        database=f"exercises_{process_number}",
        redis_number=redis_number,
    )


class LessonTests:
    """The tests of one lesson; ``lesson`` is the notebook's name."""

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
        assert verdict.kind == "accepted", f"{verdict}. These cells of the lesson have run: {ran}."


@pytest.mark.verify
class TestCitusSharding(LessonTests):
    """Lesson 01."""

    lesson = "01_citus_sharding"


@pytest.mark.verify
class TestMongoMetadata(LessonTests):
    """Lesson 02."""

    lesson = "02_mongodb_metadata"


class TestRedisStock(LessonTests):
    """Lesson 03."""

    lesson = "03_redis_stock"


@pytest.mark.verify
class TestAppLayerJoins(LessonTests):
    """Lesson 04."""

    lesson = "04_app_layer_joins"


@pytest.mark.verify
class TestRestApi(LessonTests):
    """Lesson 05."""

    lesson = "05_rest_api"


@pytest.mark.servers
@pytest.mark.verify
class TestFailureDrills(LessonTests):
    """Lesson 06."""

    lesson = "06_failure_drills"
