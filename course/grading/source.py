"""Read the project's source notebook: the purpose and the points of each cell.

One file holds everything: instructions, solutions, visible and hidden tests, points. It uses
nbgrader's cell metadata (schema 3) and markers, so that nbgrader can grade the same file. It is
read without nbgrader, which students do not have installed: ``make check`` uses the same rules.

The part of a cell's ``grade_id`` before the first hyphen names its task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from helpers.errors import GradingError

Notebook = dict[str, Any]
Cell = dict[str, Any]

#: The purpose of a cell: a ``test`` is run by the grader, ``manual`` is graded by hand, ``answer``
#: holds a solution, ``given`` is locked, and ``free`` is any other cell.
Kind = Literal["test", "manual", "answer", "given", "free"]

#: What replaces a solution in the students' version, in code and in text.
CODE_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
TEXT_STUB = ("YOUR ANSWER HERE",)
#: What replaces a cell whose whole content is hidden.
HIDDEN_STUB = "# Hidden tests: they are run when the project is graded."

_TO_LESSONS = "](../notebooks/"
_SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
_HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")


@dataclass(frozen=True)
class SourceCell:
    """One cell of the project.

    ``key`` identifies the cell in a submission: its ``grade_id``, or the notebook's cell id.
    """

    key: str
    kind: Kind
    code: bool
    text: str
    points: float = 0.0

    @property
    def task(self) -> str:
        """The task that a graded cell belongs to."""
        return self.key.partition("-")[0]

    @property
    def restored(self) -> bool:
        """Whether the source's version of the cell replaces the submission's."""
        return self.kind in {"test", "given"}

    def released(self) -> str:
        """Return the cell's text without its solution and without its hidden tests.

        The students' version lies in the lessons' folder, so links to lessons become shorter.
        """
        if self.kind in {"answer", "manual"}:
            return self._without_solution()
        if self.kind == "test":
            kept = "\n".join(_without_hidden(self.text)).strip("\n")
            return kept if kept.strip() else HIDDEN_STUB
        return self.text if self.code else self.text.replace(_TO_LESSONS, "](")

    def _without_solution(self) -> str:
        stub = CODE_STUB if self.code else TEXT_STUB
        if _SOLUTION[0] not in self.text:
            return "\n".join(stub)  # the whole cell is the solution
        lines: list[str] = []
        inside = False
        for line in self.text.splitlines():
            if _bare(line) == _SOLUTION[0]:
                indent = re.match(r"\s*", line)
                lines += [f"{indent[0] if indent else ''}{part}" for part in stub]
                inside = True
            elif _bare(line) == _SOLUTION[1]:
                inside = False
            elif not inside:
                lines.append(line)
        return "\n".join(lines)


@dataclass(frozen=True)
class Source:
    """The project: ``notebook`` is the source notebook's JSON, ``cells`` are its parsed cells."""

    notebook: Notebook
    cells: tuple[SourceCell, ...]

    def tasks(self) -> list[str]:
        """Return the tasks that have points, in the source's order."""
        return list(dict.fromkeys(c.task for c in self.cells if c.kind in {"test", "manual"}))

    def tests(self, task: str | None = None) -> list[SourceCell]:
        """Return the test cells: all, or those of one task."""
        return [c for c in self.cells if c.kind == "test" and task in {None, c.task}]

    def manual(self, task: str | None = None) -> list[SourceCell]:
        """Return the cells that are graded by hand: all, or those of one task."""
        return [c for c in self.cells if c.kind == "manual" and task in {None, c.task}]

    def title(self, task: str | None = None) -> str:
        """Return the title of the project, or of ``task``: its heading ``## Task A · …``.

        Minutes in the heading, such as ``*(50 min)*``, are left out.
        """
        start = "#" if task is None else rf"## Task {re.escape(task)}\W+"
        heading = re.compile(
            rf"^{start} *(.+?)(?: \*\(\d+ min\)\*)?$", re.IGNORECASE | re.MULTILINE
        )
        texts = (cell.text for cell in self.cells if not cell.code)
        found = next(filter(None, map(heading.search, texts)), None)
        return found[1] if found else ""


def read_source(path: Path) -> Source:
    """Read the project's source, or a student's version of it, from ``path``.

    Raises ``GradingError`` if the file cannot be read or a cell is invalid.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise GradingError(
            f"{path} cannot be read ({(error.strerror or str(error)).lower()}): give a notebook."
        ) from error
    return parse_source(parse_notebook(text))


def parse_notebook(text: str) -> Notebook:
    """Parse the JSON of a notebook. Raises ``GradingError`` if it is not one."""
    if not text.strip():
        raise GradingError("The file is empty.")
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise GradingError("The file is not JSON, so it is not a notebook.") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise GradingError("The file is JSON, but not a notebook of format 4: it has no cells.")
    for cell in notebook["cells"]:
        if not _is_cell(cell):
            raise GradingError("The file is damaged: one of its cells is not a notebook cell.")
    return notebook


def parse_source(notebook: Notebook) -> Source:
    """Return the cells of ``notebook`` with their purposes and points.

    Raises ``GradingError`` if two cells have the same name or a marker is misplaced.
    """
    cells = tuple(_parsed(cell, number) for number, cell in enumerate(notebook["cells"], start=1))
    keys = [cell.key for cell in cells]
    for key in keys:
        if keys.count(key) > 1:
            raise GradingError(f"{key}: names more than one cell: give each its own grade_id.")
    return Source(notebook, cells)


def key_of(cell: Cell) -> str | None:
    """Return a cell's name: its ``grade_id``, or its id; ``None`` if it has neither."""
    name = _graded(cell).get("grade_id") or cell.get("id")
    return name if isinstance(name, str) and name else None


def text_of(cell: Cell) -> str:
    """Return a cell's text, which notebook files store as one string or as a list of lines."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def _is_cell(cell: object) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata", {}), dict):
        return False
    text = cell.get("source")
    lines = isinstance(text, list) and all(isinstance(line, str) for line in text)
    return isinstance(cell.get("cell_type"), str) and (isinstance(text, str) or lines)


def _graded(cell: Cell) -> dict[str, Any]:
    found = cell.get("metadata", {}).get("nbgrader")
    return found if isinstance(found, dict) else {}


def _parsed(cell: Cell, number: int) -> SourceCell:
    marks = _graded(cell)
    kind = _kind(marks)
    key = key_of(cell) or f"cell-{number}"
    text = text_of(cell)
    code = cell["cell_type"] == "code"
    if kind in {"test", "manual"} and not isinstance(marks.get("points"), int | float):
        raise GradingError(f"{key}: is graded, but has no points.")
    _check_marks(key, text, _SOLUTION, allowed=kind in {"answer", "manual"})
    _check_marks(key, text, _HIDDEN, allowed=kind == "test" and code)
    return SourceCell(key, kind, code, text, float(marks.get("points") or 0))


def _kind(marks: dict[str, Any]) -> Kind:
    if marks.get("grade"):
        return "manual" if marks.get("solution") else "test"
    if marks.get("solution"):
        return "answer"
    return "given" if marks.get("locked") else "free"


def _check_marks(key: str, text: str, marks: tuple[str, str], *, allowed: bool) -> None:
    begin, end = marks
    found = [_bare(line) for line in text.splitlines() if _bare(line) in marks]
    if found and not allowed:
        raise GradingError(f"{key}: {begin!r} is not allowed in this cell.")
    # A misspelt marker would release the solution or the hidden tests.
    if len(found) != text.count(begin) + text.count(end) or found != [begin, end] * (
        len(found) // 2
    ):
        raise GradingError(f"{key}: {begin!r} and {end!r} must alternate, each on its own line.")


def _bare(line: str) -> str:
    """Return a line without indentation and without the HTML comment around it."""
    return line.strip().removeprefix("<!--").removesuffix("-->").strip()


def _without_hidden(text: str) -> Iterator[str]:
    hidden = False
    for line in text.splitlines():
        if _bare(line) in _HIDDEN:
            hidden = _bare(line) == _HIDDEN[0]
        elif not hidden:
            yield line
