"""Build small projects and submissions, cell by cell."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from course.grading.release import released
from course.grading.source import Notebook, Source, parse_source

Cell = dict[str, Any]


def code(name: str, text: str, **marks: Any) -> Cell:
    """A code cell; ``marks`` is its nbgrader metadata."""
    return _cell("code", name, text, marks) | {"outputs": [], "execution_count": None}


def markdown(name: str, text: str, **marks: Any) -> Cell:
    """A text cell."""
    return _cell("markdown", name, text, marks)


def given(name: str, text: str) -> Cell:
    """A locked cell that is not graded."""
    return code(name, text, locked=True)


def answer(name: str, text: str) -> Cell:
    """An answer cell."""
    return code(name, text, solution=True)


def test(name: str, text: str, points: float) -> Cell:
    """A test cell."""
    return code(name, text, grade=True, locked=True, points=points)


def manual(name: str, text: str, points: float) -> Cell:
    """A text cell that is graded by hand."""
    return markdown(name, text, grade=True, solution=True, points=points)


def notebook(*cells: Cell) -> Notebook:
    """A notebook of ``cells``."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
        "cells": copy.deepcopy(list(cells)),
    }


def write(made: Notebook, place: Path) -> Path:
    """Write a notebook to ``place``, creating its folder if necessary."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(made), "utf-8")
    return place


def changed(made: Notebook, **texts: str) -> Notebook:
    """Return a copy with other texts in the named cells; write ``_`` for ``-`` in the names."""
    made = copy.deepcopy(made)
    for name, text in texts.items():
        find(made, name.replace("_", "-"))["source"] = text
    return made


def with_cell(made: Notebook, text: str, *, before: str) -> Notebook:
    """Return a copy with an additional cell before the cell called ``before``."""
    made = copy.deepcopy(made)
    made["cells"].insert(made["cells"].index(find(made, before)), code("mine", text))
    return made


def find(made: Notebook, name: str) -> Cell:
    """Return the cell called ``name``."""
    return next(cell for cell in made["cells"] if cell["id"] == name)


def solved(made: Notebook, *, tasks: str | None = None) -> Notebook:
    """Return a submission with the source's solutions, to all tasks or to ``tasks``."""
    project = parse_source(made)
    done = released(project)
    for cell in project.cells:
        if cell.kind == "answer" and (tasks is None or cell.task in tasks):
            lines = [line for line in cell.text.splitlines() if " SOLUTION" not in line]
            find(done, cell.key)["source"] = "\n".join(lines)
    return done


def sums() -> Notebook:
    """A project with two tasks that needs no store."""
    return notebook(
        markdown("title", "# Sums\n\nTwo tasks."),
        given("given-numbers", "NUMBERS = [3, 1, 2]\n\n\ndef double(x):\n    return 2 * x"),
        markdown("a-task", "## Task A · Add"),
        answer(
            "a-add-answer",
            "def add(numbers):\n"
            "    ### BEGIN SOLUTION\n"
            "    return sum(double(n) for n in numbers) // 2\n"
            "    ### END SOLUTION",
        ),
        test("a-add-visible", "assert add(NUMBERS) == 6, 'three numbers are added'", 4),
        test(
            "a-add-hidden",
            "### BEGIN HIDDEN TESTS\n"
            "assert add([]) == 0, 'the sum of nothing is 0'\n"
            "assert add([41, -20]) == len('x' * 21), 'numbers below zero are added too'\n"
            "### END HIDDEN TESTS",
            6,
        ),
        manual(
            "a-add-text",
            "<!-- ### BEGIN SOLUTION -->\n"
            "Because addition is associative.\n"
            "<!-- ### END SOLUTION -->",
            5,
        ),
        markdown("b-task", "## Task B · Greatest *(9 min)*"),
        answer(
            "b-greatest-answer",
            "### BEGIN SOLUTION\n"
            "def greatest(numbers):\n"
            "    return sorted(numbers)[-1]\n"
            "### END SOLUTION",
        ),
        test(
            "b-greatest-test",
            "assert greatest(NUMBERS) == 3, 'the greatest of three'\n"
            "### BEGIN HIDDEN TESTS\n"
            "assert greatest([-5, -7]) == -5, 'all below zero'\n"
            "### END HIDDEN TESTS",
            10,
        ),
    )


def source(made: Notebook) -> Source:
    """Return the parsed source of a project."""
    return parse_source(made)


def _cell(kind: str, name: str, text: str, marks: dict[str, Any]) -> Cell:
    metadata: dict[str, Any] = {}
    if marks:
        flags = {"grade": False, "solution": False, "locked": False, "schema_version": 3}
        metadata["nbgrader"] = {**flags, "grade_id": name, "cell_type": kind, **marks}
    return {"cell_type": kind, "id": name, "metadata": metadata, "source": text}
