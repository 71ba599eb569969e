"""The bank is complete, and nothing in it is stale: seen from the files, without running any."""

from __future__ import annotations

import ast
import json
from collections import Counter

import pytest

from course.authoring.exercises import Exercise, bound_names, find_exercises
from course.authoring.notebook_rules import Notebook, source_of
from helpers.settings import PROJECT
from tests.e2e.exercises import test_lessons
from tests.e2e.exercises.bank import (
    lessons_with_answers,
    needed_cells,
    read_bank,
    read_needs,
    wrong_answers,
)
from tests.e2e.exercises.needs import find_needed

FEWEST = 2

NOTEBOOKS: dict[str, Notebook] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))
}
EXERCISES: dict[str, list[Exercise]] = {
    lesson: found for lesson, notebook in NOTEBOOKS.items() if (found := find_exercises(notebook))
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


@pytest.mark.parametrize("lesson", EXERCISES)
def test_names_that_exercises_and_answers_use_are_bound_before_them(lesson: str) -> None:
    for exercise in EXERCISES[lesson]:
        answers = [one for one in wrong_answers(lesson) if one.exercise == exercise.name]
        cells = needed_cells(lesson).get(exercise.name, [])
        needed = find_needed(NOTEBOOKS[lesson], [exercise], answers, cells)
        assert needed.unbound == set(), exercise.name


@pytest.mark.parametrize("lesson", EXERCISES)
def test_a_cell_that_an_exercise_needs_stands_before_it(lesson: str) -> None:
    exercises = {one.name: one for one in EXERCISES[lesson]}
    for name, cells in needed_cells(lesson).items():
        for cell in cells:
            assert _place(lesson, cell) < exercises[name].stub_at, (name, cell)


@pytest.mark.parametrize("lesson", EXERCISES)
def test_no_cell_is_named_that_runs_whole_without_being_named(lesson: str) -> None:
    exercises = {one.name: one for one in EXERCISES[lesson]}
    for name, cells in needed_cells(lesson).items():
        answers = [one for one in wrong_answers(lesson) if one.exercise == name]
        for cell in cells:
            others = [other for other in cells if other != cell]
            found = find_needed(NOTEBOOKS[lesson], [exercises[name]], answers, others)
            at = _place(lesson, cell)
            whole = ast.parse(source_of(NOTEBOOKS[lesson]["cells"][at]))
            assert ast.dump(whole) != ast.dump(ast.parse(found.sources.get(at, ""))), (name, cell)


@pytest.mark.parametrize("head", ["# %%", "# %% twice", "# %% twice:", "# %% : a mistake"])
def test_a_head_names_the_exercise_and_the_mistake(head: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        read_bank(f"{head}\ndef twice(): ...\n")


def test_a_bank_is_read() -> None:
    (one, other) = read_bank("# %% a: this\nx = 1\n\n# %% b-c: that: it\n\ny = 2  # %% z\n")
    assert (one.exercise, one.mistake, one.source) == ("a", "this", "x = 1")
    assert (other.title, other.source) == ("b-c: that: it", "y = 2  # %% z")


def test_needs_are_read_before_the_first_answer() -> None:
    text = "# a needs: one\n# b-c needs: one, two-x\n\n# %% a: this\nx = 1  \n# d needs: three\n"
    assert read_needs(text) == {"a": ["one"], "b-c": ["one", "two-x"]}
    assert read_needs("# %% a: this\nx = 1\n") == {}


@pytest.mark.parametrize(
    "line", ["# a needs", "# a needs:", "# a needs: one,", "x = 1", "# a needs: b\n# a needs: c"]
)
def test_a_line_before_the_first_answer_names_an_exercise_and_cells(line: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        read_needs(f"{line}\n\n# %% a: this\nx = 1\n")


def _place(lesson: str, cell: str) -> int:
    (place,) = (n for n, one in enumerate(NOTEBOOKS[lesson]["cells"]) if one["id"] == cell)
    return place


def _dumps(exercise: Exercise) -> list[str]:
    """Return the stub and the solution, the latter also without the check at its end."""
    solution = ast.parse(exercise.solution)
    without = ast.Module(body=solution.body[:-1], type_ignores=[])
    stub = ast.parse(exercise.stub)
    return [ast.dump(one) for one in (solution, without, stub)]
