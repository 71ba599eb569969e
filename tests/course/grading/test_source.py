"""The project's source: it is parsed, and mistakes in it are reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from course.grading.source import Notebook, parse_notebook, parse_source
from helpers.errors import GradingError
from tests.course.grading import building


def test_tasks_and_points_are_read_from_the_cells() -> None:
    source = building.source(building.sums())
    assert source.tasks() == ["a", "b"]
    assert [(c.key, c.points) for c in source.tests("a")] == [
        ("a-add-visible", 4),
        ("a-add-hidden", 6),
    ]
    assert [c.key for c in source.manual()] == ["a-add-text"]
    assert (source.title("b"), source.title("c")) == ("Greatest", "")


def test_a_cell_without_a_grade_id_is_identified_by_its_id() -> None:
    source = building.source(building.sums())
    assert source.cells[0].key == "title"
    assert source.cells[0].kind == "free"


def test_the_text_of_a_cell_may_be_a_list_of_lines() -> None:
    made = building.sums()
    cell = building.find(made, "given-numbers")
    lines = cell["source"].splitlines(keepends=True)
    cell["source"] = lines
    assert building.source(made).cells[1].text == "".join(lines)


BROKEN: dict[str, tuple[Callable[[Notebook], object], str]] = {
    "two of one name": (lambda m: m["cells"].append(m["cells"][4]), "names more than one cell"),
    "no points": (
        lambda m: building.find(m, "a-add-visible")["metadata"]["nbgrader"].pop("points"),
        "has no points",
    ),
    "a solution that does not end": (
        lambda m: building.find(m, "a-add-answer").update(source="### BEGIN SOLUTION\nx = 1"),
        "must alternate",
    ),
    "an end before its beginning": (
        lambda m: building.find(m, "a-add-answer").update(
            source="### END SOLUTION\nx = 1\n### BEGIN SOLUTION"
        ),
        "must alternate",
    ),
    "a marker behind code": (
        lambda m: building.find(m, "a-add-hidden").update(
            source="x = 1  ### BEGIN HIDDEN TESTS\nassert x\n### END HIDDEN TESTS"
        ),
        "must alternate",
    ),
    "a hidden test in an answer": (
        lambda m: building.find(m, "a-add-answer").update(
            source="### BEGIN HIDDEN TESTS\nassert 1\n### END HIDDEN TESTS"
        ),
        "not allowed in this cell",
    ),
    "a solution in a given cell": (
        lambda m: building.find(m, "given-numbers").update(
            source="### BEGIN SOLUTION\nx = 1\n### END SOLUTION"
        ),
        "not allowed in this cell",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_invalid_source_is_refused(name: str) -> None:
    break_, sentence = BROKEN[name]
    made = building.sums()
    break_(made)
    with pytest.raises(GradingError, match=sentence):
        parse_source(made)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("hello", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a notebook of format 4"),
        ('{"worksheets": []}', "not a notebook of format 4"),
        ('{"cells": [1]}', "is damaged"),
        ('{"cells": [{"cell_type": "code", "metadata": [], "source": ""}]}', "is damaged"),
        ('{"cells": [{"cell_type": "code", "source": [1]}]}', "is damaged"),
    ],
)
def test_a_file_that_is_not_a_notebook_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(GradingError, match=sentence):
        parse_notebook(text)
