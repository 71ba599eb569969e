"""Find the exercises of a notebook, and read the verdicts of their checks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from helpers.errors import NotebookError
from tests.lessons.exercises import bound_names, find_exercises, read_verdict

CHECK = """
def check_double(answer):
    assert answer(2) == 4, f"twice 2 is 4, not {answer(2)}"
    return "doubled"


try:
    print(check_double(double))
except AssertionError as error:
    print("not yet:", error)
"""


def _code(name: str, source: str, tag: str | None = None) -> Any:
    tags = {"tags": [tag]} if tag else {}
    return {"cell_type": "code", "id": name, "metadata": tags, "source": source, "outputs": []}


def _markdown(name: str, source: str) -> Any:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


NOTEBOOK: dict[str, Any] = {
    "cells": [
        _markdown("title", "# A lesson"),
        _code("first", "half = 0.5"),
        _markdown("asked", "Write `double(n)`."),
        _code("exercise-twice", "import math\n\n\ndef double(n): ...  # your answer", "exercise"),
        _code("check-twice", CHECK.strip()),
        _markdown("between", "The solution:"),
        _code(
            "solution-twice",
            "def double(n):\n    return 2 * n\n\n\ncheck_double(double)",
            "solution",
        ),
        _code("last", "print(double(half))"),
    ]
}


def _printed(text: str | list[str], name: str = "stdout") -> Any:
    return {"output_type": "stream", "name": name, "text": text}


def test_an_exercise_is_found_with_all_its_cells() -> None:
    (found,) = find_exercises(NOTEBOOK)
    assert (found.name, found.answer, found.check_name) == ("twice", "double", "check_double")
    assert (found.stub_at, found.check_at, found.solution_at) == (3, 4, 6)
    assert found.task == "Write `double(n)`."
    assert found.stub.startswith("import math")
    assert found.solution.startswith("def double(n):\n    return")
    assert found.check == CHECK.strip()


def test_the_trial_is_the_end_of_the_check_cell() -> None:
    (found,) = find_exercises(NOTEBOOK)
    assert found.trial.startswith("try:\n    print(check_double(double))")
    assert CHECK.strip().endswith(found.trial)


def test_cells_may_be_stored_as_lists_of_lines() -> None:
    notebook = copy.deepcopy(NOTEBOOK)
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    assert find_exercises(notebook) == find_exercises(NOTEBOOK)


def test_a_notebook_without_exercises_has_none() -> None:
    assert find_exercises({"cells": NOTEBOOK["cells"][:2]}) == []


def test_values_and_async_functions_are_bound_names() -> None:
    assert bound_names('a = b = ""\nasync def c(): ...\nd.e = 1\nimport f') == ["a", "b", "c"]


def _change(at: int, **values: Any) -> Callable[[Any], None]:
    return lambda notebook: notebook["cells"][at].update(values)


BROKEN: dict[str, tuple[Callable[[Any], None], str]] = {
    "no solution": (lambda n: n["cells"].pop(6), "not a check and a solution"),
    "nothing after the stub": (lambda n: n["cells"].__delitem__(slice(4, None)), "not a check and"),
    "no check": (lambda n: n["cells"].pop(4), "not a check and a solution"),
    "a solution without a stub": (_change(3, metadata={}), "no exercise precedes it"),
    "a stub without a name": (_change(3, source="# your answer"), "nothing that is an answer"),
    "a check without a function": (_change(4, source="double"), "nothing that is a function check"),
    "a check that is not called": (
        _change(4, source=CHECK[: CHECK.index("try")]),
        "does not check the answer of exercise-twice",
    ),
    "a solution that is not checked": (
        _change(6, source="def double(n): return 2 * n"),
        "does not check the answer of exercise-twice",
    ),
    "a solution of another": (
        _change(6, source="def twice(n): return 2 * n\ncheck_double(double)"),
        "does not define double",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_cells_that_do_not_match_are_refused(name: str) -> None:
    break_, expected = BROKEN[name]
    notebook = copy.deepcopy(NOTEBOOK)
    break_(notebook)
    with pytest.raises(NotebookError, match=expected):
        find_exercises(notebook)


@pytest.mark.parametrize(
    ("outputs", "kind", "text"),
    [
        ([_printed("doubled\n")], "accepted", "doubled"),
        ([_printed("not yet: twice 2 is 4, not 5\n")], "refused", "twice 2 is 4, not 5"),
        ([_printed(["not yet: ", "this\n"])], "refused", "this"),
        ([_printed("my own words\nnot yet: this\n")], "refused", "my own words"),
        ([_printed("it is not yet: said inside a line\n")], "accepted", "it is not yet: said"),
        ([_printed("not yet: said as a warning", "stderr")], "accepted", ""),
        ([{"output_type": "execute_result", "data": {"text/plain": "'ok'"}}], "accepted", "'ok'"),
        (
            [_printed("…"), {"output_type": "error", "ename": "KeyError", "evalue": "\x1b[31m2"}],
            "failed",
            "KeyError: 2",
        ),
        ([], "accepted", ""),
    ],
)
def test_the_verdict_is_read_from_the_outputs(outputs: list[Any], kind: str, text: str) -> None:
    verdict = read_verdict(outputs)
    assert verdict.kind == kind
    assert text in verdict.text or kind == "refused"


@pytest.mark.parametrize(
    ("text", "in_words"),
    [
        ("the answer is 5, and 4 is right", True),
        ("some are outside of 8 to 12", True),
        ("", False),
        ("{'a': 1}", False),
        ("7 != 8", False),
    ],
)
def test_a_reason_must_be_in_markdown(text: str, in_words: bool) -> None:
    assert read_verdict([_printed(f"not yet: {text}\n")]).says_why is in_words
