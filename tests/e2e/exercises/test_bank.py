"""The answer bank is complete and up to date, checked in the files without running them."""

from __future__ import annotations

import ast
import json
from collections import Counter

import pytest

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
from tests.lessons.exercises import Exercise, bound_names, find_exercises
from tests.lessons.notebook_rules import Notebook, source_of

MIN_MISTAKES = 2

NOTEBOOKS: dict[str, Notebook] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))
}
EXERCISES: dict[str, list[Exercise]] = {
    lesson: found for lesson, notebook in NOTEBOOKS.items() if (found := find_exercises(notebook))
}


def test_every_lesson_but_the_tour_has_exercises() -> None:
    assert len(EXERCISES) >= 6


def test_every_lesson_with_exercises_has_tests_and_answers() -> None:
    run = [tests.lesson for tests in test_lessons.LessonTests.__subclasses__()]
    assert sorted(run) == sorted(EXERCISES) == lessons_with_answers()


@pytest.mark.parametrize("lesson", EXERCISES)
def test_every_exercise_has_enough_wrong_answers_and_no_obsolete_ones(lesson: str) -> None:
    given = Counter(answer.exercise for answer in wrong_answers(lesson))
    assert set(given) == {exercise.name for exercise in EXERCISES[lesson]}
    assert min(given.values()) >= MIN_MISTAKES, given


@pytest.mark.parametrize("lesson", EXERCISES)
def test_a_wrong_answer_defines_the_answer_and_is_not_the_solution(lesson: str) -> None:
    exercises = {exercise.name: exercise for exercise in EXERCISES[lesson]}
    for answer in wrong_answers(lesson):
        exercise = exercises[answer.exercise]
        assert bound_names(answer.source) == [exercise.answer], answer.title
        assert ast.dump(ast.parse(answer.source)) not in _dumps(exercise), answer.title


@pytest.mark.parametrize("lesson", EXERCISES)
def test_mistakes_are_unique(lesson: str) -> None:
    answers = wrong_answers(lesson)
    titles = Counter(answer.title for answer in answers)
    sources = Counter(ast.dump(ast.parse(answer.source)) for answer in answers)
    assert max(titles.values()) == max(sources.values()) == 1


@pytest.mark.parametrize("lesson", EXERCISES)
def test_names_used_by_exercises_and_answers_are_bound_before_them(lesson: str) -> None:
    for exercise in EXERCISES[lesson]:
        answers = [wrong for wrong in wrong_answers(lesson) if wrong.exercise == exercise.name]
        cells = needed_cells(lesson).get(exercise.name, [])
        needed = find_needed(NOTEBOOKS[lesson], [exercise], answers, cells)
        assert needed.unbound == set(), exercise.name


@pytest.mark.parametrize("lesson", EXERCISES)
def test_a_cell_that_an_exercise_needs_precedes_it(lesson: str) -> None:
    exercises = {exercise.name: exercise for exercise in EXERCISES[lesson]}
    for name, cells in needed_cells(lesson).items():
        for cell in cells:
            assert _place(lesson, cell) < exercises[name].stub_at, (name, cell)


@pytest.mark.parametrize("lesson", EXERCISES)
def test_only_cells_that_would_not_run_whole_are_named(lesson: str) -> None:
    exercises = {exercise.name: exercise for exercise in EXERCISES[lesson]}
    for name, cells in needed_cells(lesson).items():
        answers = [wrong for wrong in wrong_answers(lesson) if wrong.exercise == name]
        for cell in cells:
            others = [other for other in cells if other != cell]
            found = find_needed(NOTEBOOKS[lesson], [exercises[name]], answers, others)
            at = _place(lesson, cell)
            whole = ast.parse(source_of(NOTEBOOKS[lesson]["cells"][at]))
            assert ast.dump(whole) != ast.dump(ast.parse(found.sources.get(at, ""))), (name, cell)


@pytest.mark.parametrize("head", ["# %%", "# %% twice", "# %% twice:", "# %% : a mistake"])
def test_an_invalid_head_is_refused(head: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        read_bank(f"{head}\ndef twice(): ...\n")


def test_answers_are_parsed() -> None:
    (one, other) = read_bank("# %% a: this\nx = 1\n\n# %% b-c: that: it\n\ny = 2  # %% z\n")
    assert (one.exercise, one.mistake, one.source) == ("a", "this", "x = 1")
    assert (other.title, other.source) == ("b-c: that: it", "y = 2  # %% z")


def test_needs_are_parsed_before_the_first_answer() -> None:
    text = "# a needs: one\n# b-c needs: one, two-x\n\n# %% a: this\nx = 1  \n# d needs: three\n"
    assert read_needs(text) == {"a": ["one"], "b-c": ["one", "two-x"]}
    assert read_needs("# %% a: this\nx = 1\n") == {}


@pytest.mark.parametrize(
    "line", ["# a needs", "# a needs:", "# a needs: one,", "x = 1", "# a needs: b\n# a needs: c"]
)
def test_an_invalid_line_before_the_first_answer_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        read_needs(f"{line}\n\n# %% a: this\nx = 1\n")


def _place(lesson: str, cell: str) -> int:
    (place,) = (n for n, other in enumerate(NOTEBOOKS[lesson]["cells"]) if other["id"] == cell)
    return place


def _dumps(exercise: Exercise) -> list[str]:
    """Return the stub and the solution, the latter also without the check at its end."""
    solution = ast.parse(exercise.solution)
    without = ast.Module(body=solution.body[:-1], type_ignores=[])
    stub = ast.parse(exercise.stub)
    return [ast.dump(tree) for tree in (solution, without, stub)]
