"""What a student is told before handing in: each task, by its visible tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.errors import GradingError
from helpers.grading.check import check, is_answered, is_hidden, told
from helpers.grading.release import released
from helpers.grading.running import Limits
from tests.grading import building
from tests.hostile import notebooks as hostile


def _told(made: object, place: Path) -> str:
    assert isinstance(made, dict)
    building.write(made, place)
    return "\n".join(told(*check(place, Limits())))


def test_each_task_is_told_without_its_hidden_tests(tmp_path: Path) -> None:
    text = _told(hostile.half_done(), tmp_path / "07.ipynb")
    assert "Task A · Add: what can be seen of it is done" in text
    assert "a-add-text: there is no answer in words yet" in text
    assert "2 of 2 tasks. Hidden tests are run when it is graded." in text
    assert "a-add-hidden" not in text


def test_what_is_missing_is_told_in_words(tmp_path: Path) -> None:
    made = released(building.source(building.sums()))
    made["cells"].append(building.find(made, "b-greatest-answer"))  # a copy, as editors make them
    text = _told(made, tmp_path / "07.ipynb")
    assert "b-greatest-answer failed: NotImplementedError." in text
    assert "Task A · Add: not yet\n    a-add-visible: NotImplementedError was raised in add" in text
    assert "0 of 2 tasks." in text


def test_another_notebook_is_refused(tmp_path: Path) -> None:
    place = building.write(building.notebook(building.code("x", "1")), tmp_path / "other.ipynb")
    with pytest.raises(GradingError, match="no notebook of the project"):
        check(place, Limits())
    with pytest.raises(GradingError, match="cannot be read"):
        check(tmp_path / "none.ipynb", Limits())


def test_a_test_is_hidden_where_only_comments_are_left_of_it() -> None:
    source = building.source(released(building.source(building.sums())))
    assert [test.key for test in source.tests() if is_hidden(test)] == ["a-add-hidden"]


def test_an_answer_in_words_is_one_where_it_is_not_the_stub() -> None:
    source = building.source(released(building.source(building.sums())))
    assert not is_answered(source.manual()[0])
    assert is_answered(building.source(hostile.perfect()).manual()[0])
