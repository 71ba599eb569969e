"""Exercises whose cells do not match, and answers that print what a check prints."""

from __future__ import annotations

import copy

import pytest

from helpers.errors import NotebookError
from tests.lessons.exercises import find_exercises, read_verdict
from tests.lessons.test_exercises import CHECK, NOTEBOOK


def test_a_check_of_another_name_is_refused() -> None:
    notebook = copy.deepcopy(NOTEBOOK)
    notebook["cells"][4]["source"] = CHECK.replace("check_double(double)", "check_double(half)")
    with pytest.raises(NotebookError, match="does not check the answer of exercise-twice"):
        find_exercises(notebook)


def test_a_solution_after_the_last_exercise_is_refused() -> None:
    notebook = copy.deepcopy(NOTEBOOK)
    solution = copy.deepcopy(notebook["cells"][6])
    notebook["cells"].append({**solution, "id": "solution-again"})
    with pytest.raises(NotebookError, match="solution-again is tagged solution, but no exercise"):
        find_exercises(notebook)


def test_the_reason_is_printed_by_the_check_not_by_the_answer() -> None:
    printed = "not yet: from the answer\nnot yet: from the check\n"
    verdict = read_verdict([{"output_type": "stream", "name": "stdout", "text": printed}])
    assert (verdict.kind, verdict.text) == ("refused", "from the check")
