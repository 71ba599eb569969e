"""The bank is complete, and nothing in it is stale: seen from the files, without running any."""

from __future__ import annotations

import ast
import json
from collections import Counter

import pytest

from helpers.authoring.exercises import Exercise, bound_names, find_exercises
from helpers.settings import PROJECT
from tests.exercises import test_lessons
from tests.exercises.bank import lessons_with_answers, read_bank, wrong_answers

FEWEST = 2

EXERCISES: dict[str, list[Exercise]] = {
    path.stem: found
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))
    if (found := find_exercises(json.loads(path.read_text("utf-8"))))
}


def test_every_lesson_but_the_tour_has_exercises() -> None:
    assert len(EXERCISES) >= 6


def test_every_lesson_with_exercises_is_run_and_has_answers() -> None:
    run = [one.lesson for one in test_lessons.ALesson.__subclasses__()]
    assert sorted(run) == sorted(EXERCISES) == lessons_with_answers()


@pytest.mark.parametrize("lesson", EXERCISES)
def test_every_exercise_has_wrong_answers_enough_and_none_is_stale(lesson: str) -> None:
    given = Counter(one.exercise for one in wrong_answers(lesson))
    assert set(given) == {one.name for one in EXERCISES[lesson]}
    assert min(given.values()) >= FEWEST, given


@pytest.mark.parametrize("lesson", EXERCISES)
def test_a_wrong_answer_has_the_answers_name_and_is_no_solution(lesson: str) -> None:
    exercises = {one.name: one for one in EXERCISES[lesson]}
    for answer in wrong_answers(lesson):
        exercise = exercises[answer.exercise]
        assert bound_names(answer.source) == [exercise.answer], answer.title
        assert ast.dump(ast.parse(answer.source)) not in _dumps(exercise), answer.title


@pytest.mark.parametrize("lesson", EXERCISES)
def test_no_mistake_is_there_twice(lesson: str) -> None:
    answers = wrong_answers(lesson)
    titles = Counter(one.title for one in answers)
    sources = Counter(ast.dump(ast.parse(one.source)) for one in answers)
    assert max(titles.values()) == max(sources.values()) == 1


@pytest.mark.parametrize("head", ["# %%", "# %% twice", "# %% twice:", "# %% : a mistake"])
def test_a_head_names_the_exercise_and_the_mistake(head: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        read_bank(f"{head}\ndef twice(): ...\n")


def test_a_bank_is_read() -> None:
    (one, other) = read_bank("# %% a: this\nx = 1\n\n# %% b-c: that: it\n\ny = 2  # %% z\n")
    assert (one.exercise, one.mistake, one.source) == ("a", "this", "x = 1")
    assert (other.title, other.source) == ("b-c: that: it", "y = 2  # %% z")


def _dumps(exercise: Exercise) -> list[str]:
    """Return the stub and the solution, the latter also without the check at its end."""
    solution = ast.parse(exercise.solution)
    without = ast.Module(body=solution.body[:-1], type_ignores=[])
    stub = ast.parse(exercise.stub)
    return [ast.dump(one) for one in (solution, without, stub)]
