"""Find the statements that run before the exercises of a small lesson, without running it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.exercises.bank import WrongAnswer
from tests.e2e.exercises.needs import Needed, find_needed, names_of
from tests.lessons.exercises import find_exercises

CHECK = """
import math


def check_area(answer):
    assert answer(2) == FACTOR * scaled(2), "the area is wrong"


try:
    print(check_area(area))
except AssertionError as error:
    print("not yet:", error)
"""


def _code(name: str, source: str, tag: str | None = None) -> Any:
    tags = {"tags": [tag]} if tag else {}
    return {"cell_type": "code", "id": name, "metadata": tags, "source": source, "outputs": []}


def _needed(
    *before: str, cells: tuple[str, ...] = (), answer: str = "", after: tuple[str, ...] = ()
) -> Needed:
    """Return the code that an exercise needs, with the cells ``c0``, ``c1``, … before it."""
    notebook = {
        "cells": [
            {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A lesson"},
            *(_code(f"c{number}", source) for number, source in enumerate(before)),
            _code("stub", "def area(side): ...", "exercise"),
            _code("check", CHECK.strip()),
            _code(
                "solution-area",
                "def area(side):\n    return FACTOR * scaled(side)\n\n\ncheck_area(area)",
                "solution",
            ),
            *(_code(f"after{number}", source) for number, source in enumerate(after)),
            _code("close", "shop.close()"),
        ]
    }
    answers = [WrongAnswer("area", "a mistake", answer)] if answer else []
    return find_needed(notebook, find_exercises(notebook), answers, cells)


def _before(needed: Needed) -> dict[str, str]:
    """Return the code that runs of the cells before the exercise, by their ids."""
    place_of_stub = list(needed.sources.values()).index("def area(side): ...")
    return {f"c{at - 1}": source for at, source in list(needed.sources.items())[:place_of_stub]}


SCALED = "def scaled(number):\n    return number"
SHOP = "shop = open_shop()\nFACTOR = 3"


def test_only_statements_that_bind_used_names_run() -> None:
    needed = _needed("import json, os\nprint(1)\ndel os", SHOP, SCALED + "\nscaled(1)")
    assert _before(needed) == {"c1": SHOP, "c2": SCALED}
    assert needed.unbound == {"open_shop"}


def test_statements_used_by_needed_statements_run() -> None:
    needed = _needed("import math", "half = math.pi / 2\nother = 1", "FACTOR = half", SCALED)
    assert _before(needed) == {
        "c0": "import math",
        "c1": "half = math.pi / 2",
        "c2": "FACTOR = half",
        "c3": SCALED,
    }


def test_the_last_statement_that_binds_a_name_runs() -> None:
    needed = _needed("FACTOR = 1", "FACTOR = 2\nFACTOR = 3", SCALED)
    assert _before(needed) == {"c1": "FACTOR = 3", "c2": SCALED}


@pytest.mark.parametrize(
    "statement",
    [
        "if True:\n    FACTOR = 2",
        "for FACTOR in []:\n    pass",
        "while input():\n    FACTOR = 2",
        "try:\n    FACTOR = 2\nexcept ValueError:\n    pass",
        "FACTOR += 1",
        "FACTOR = FACTOR + 1",
    ],
)
def test_an_earlier_statement_runs_too_if_the_last_may_not_bind_or_uses_it(statement: str) -> None:
    assert _before(_needed("FACTOR = 1", statement, SCALED)) == {
        "c0": "FACTOR = 1",
        "c1": statement,
        "c2": SCALED,
    }


def test_a_with_statement_runs_whole_for_a_name_in_it() -> None:
    statement = "with open('x') as file:\n    FACTOR = int(file.read())"
    assert _before(_needed("FACTOR = 1", statement, SCALED))["c1"] == statement
    assert "c0" not in _before(_needed("FACTOR = 1", statement, SCALED))


def test_names_used_in_a_function_may_be_bound_after_it() -> None:
    function = "def scaled(number):\n    return [number * n for n in steps]"
    needed = _needed("FACTOR = 1", function, "steps = [1, 2]\nunused = 1")
    assert _before(needed)["c2"] == "steps = [1, 2]"


def test_arguments_and_local_variables_are_ignored() -> None:
    function = "def scaled(number):\n    local = number\n    return [n for n in [local]]"
    needed = _needed("number = local = n = 1", "FACTOR = 1", function)
    assert list(_before(needed)) == ["c1", "c2"]


def test_a_named_cell_runs_whole_with_the_statements_it_uses() -> None:
    effect = "table = 1\nmake(table)"
    needed = _needed("make = print", effect, "unused = 1", SCALED, cells=("c1",))
    assert _before(needed) == {"c0": "make = print", "c1": effect, "c3": SCALED}


def test_a_wrong_answer_uses_names_bound_before_it_only() -> None:
    answer = "def area(side):\n    return side * extra + math.pi + later"
    needed = _needed("extra = 5", SCALED, answer=answer, after=("later = 1",))
    assert _before(needed)["c0"] == "extra = 5"
    assert needed.unbound == {"FACTOR", "shop", "later"}


def test_the_exercise_and_the_last_cell_run_unchanged() -> None:
    needed = _needed(SHOP, SCALED, after=("print(1)",))
    stub, check, solution, close = list(needed.sources.values())[-4:]
    assert check == CHECK.strip()
    assert (stub, close) == ("def area(side): ...", "shop.close()")
    assert solution.endswith("check_area(area)")


def test_names_follow_pythons_scoping_rules() -> None:
    names = names_of(
        "import a.b, c as d\n"
        "from e import f\n"
        "async def g(h, i=j): global k; k = l\n"
        "class M(n):\n    o = p\n    q = o\n"
        "r = [s for s in t if u]\n"
        "await v(*(w := x))\n"
        "try: y\nexcept z as error: print(error)\n"
    )
    assert names.bound == {"a", "d", "f", "g", "k", "M", "r", "w", "error"}
    used = names.used | names.used_later
    # A class body uses ``__name__`` implicitly.
    assert used - {"__name__"} == {*"jlnptuvxyz", "print"}
