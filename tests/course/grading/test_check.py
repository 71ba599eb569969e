"""The progress report for a student: each task, by its visible tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from course.grading.check import check, is_answered, is_hidden, progress_lines
from course.grading.release import released
from course.grading.results import Verdict
from course.grading.running import Outcome
from course.grading.student import Limits
from helpers.errors import GradingError
from tests.course.grading import building
from tests.e2e.hostile import notebooks as hostile


def test_each_task_is_reported_by_its_visible_tests(tmp_path: Path) -> None:
    made = building.solved(building.sums(), tasks="b")
    copied = building.find(made, "b-greatest-answer") | {"source": "greatest(nothing)"}
    made["cells"].append(copied)  # with the same name, as editors copy cells
    building.write(made, tmp_path / "07.ipynb")
    text = "\n".join(progress_lines(*check(tmp_path / "07.ipynb", Limits())))
    assert "own cell 1 after b-greatest-test failed: NameError" in text
    assert "Task A · Add: not yet\n    a-add-visible: NotImplementedError was raised in add" in text
    assert "a-add-text: there is no answer in words yet" in text
    assert "a-add-hidden" not in text
    assert "Task B · Greatest: what can be seen of it is done" in text
    assert "1 of 2 tasks. Hidden tests are run when it is graded." in text


def test_failures_outside_the_tests_are_reported_first() -> None:
    source = building.source(released(building.source(building.sums())))
    passed = {test.key: Verdict(True) for test in source.tests()}
    lines = [*progress_lines(source, Outcome(passed, {"b-greatest-answer": "failed: KeyError"}))]
    assert lines[:2] == ["b-greatest-answer failed: KeyError.", ""]
    assert lines[-1].startswith("2 of 2 tasks.")


def test_another_notebook_is_refused(tmp_path: Path) -> None:
    place = building.write(building.notebook(building.code("x", "1")), tmp_path / "other.ipynb")
    with pytest.raises(GradingError, match="not a notebook of the project"):
        check(place, Limits())
    with pytest.raises(GradingError, match="cannot be read"):
        check(tmp_path / "none.ipynb", Limits())


def test_a_test_that_consists_of_comments_is_hidden() -> None:
    source = building.source(released(building.source(building.sums())))
    assert [test.key for test in source.tests() if is_hidden(test)] == ["a-add-hidden"]


def test_an_answer_in_words_differs_from_the_stub() -> None:
    source = building.source(released(building.source(building.sums())))
    assert not is_answered(source.manual()[0])
    assert is_answered(building.source(hostile.perfect()).manual()[0])
