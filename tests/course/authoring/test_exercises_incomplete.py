"""Exercises whose cells do not belong together, and answers that print what a check prints."""

from __future__ import annotations

import copy

import pytest

from course.authoring.exercises import find_exercises, read_verdict
from helpers.errors import NotebookError
from tests.course.authoring.test_exercises import CHECK, NOTEBOOK


def test_a_check_that_tries_another_name_is_refused() -> None:
    notebook = copy.deepcopy(NOTEBOOK)
    notebook["cells"][4]["source"] = CHECK.replace("check_double(double)", "check_double(half)")
    with pytest.raises(NotebookError, match="does not check the answer of exercise-twice"):
        find_exercises(notebook)


def test_a_solution_after_the_last_exercise_is_refused() -> None:
    notebook = copy.deepcopy(NOTEBOOK)
    solution = copy.deepcopy(notebook["cells"][6])
    notebook["cells"].append({**solution, "id": "solution-again"})
    with pytest.raises(NotebookError, match="solution-again is tagged solution, and no exercise"):
        find_exercises(notebook)


def test_the_reason_is_what_the_check_says_and_not_what_the_answer_prints() -> None:
    printed = "not yet: says the answer\nnot yet: says the check\n"
    verdict = read_verdict([{"output_type": "stream", "name": "stdout", "text": printed}])
    assert (verdict.kind, verdict.text) == ("refused", "says the check")
