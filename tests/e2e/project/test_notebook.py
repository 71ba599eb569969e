"""The project's source notebook: its nbgrader metadata, points, markers and names."""

from __future__ import annotations

import builtins
import json
import symtable
from collections import Counter
from typing import Any

import pytest

from tests.e2e.project.running import NOTEBOOK, TASKS, cells, full_points, solution, untouched

RAW: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
GRADED = [cell for cell in RAW if "nbgrader" in cell["metadata"]]


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _known(cell: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = cell["metadata"]["nbgrader"]
    return known


def test_the_project_has_100_points_in_six_tasks() -> None:
    assert sum(cell.points for cell in cells()) == 100
    assert {cell.task for cell in cells() if cell.points} == set(TASKS)
    assert sum(full_points().values()) == 82


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_an_answer_several_tests_and_a_text(task: str) -> None:
    kinds = Counter(
        (cell.kind, cell.code, cell.key.rpartition("-")[2] if cell.points else "")
        for cell in cells()
        if cell.task == task and cell.kind in {"answer", "test", "manual"}
    )
    visible, hidden = (kinds.pop(("test", True, name)) for name in ("visible", "hidden"))
    assert min(visible, hidden) >= 2
    assert visible + hidden >= 3
    assert kinds == {("answer", True, ""): 1, ("manual", False, "text"): 1}


@pytest.mark.parametrize("cell", GRADED, ids=lambda cell: cell["id"])
def test_metadata_follows_nbgraders_schema(cell: dict[str, Any]) -> None:
    """Version 3 of nbgrader's schema."""
    known = _known(cell)
    assert set(known) - {"points"} == {
        "cell_type",
        "grade",
        "grade_id",
        "locked",
        "schema_version",
        "solution",
        "task",
    }
    assert (known["schema_version"], known["task"]) == (3, False)
    assert known["cell_type"] == cell["cell_type"]
    assert known["grade_id"] == cell["id"]
    assert ("points" in known) == known["grade"]
    assert known["locked"] != known["solution"], "a cell is either locked or an answer"
    if cell["cell_type"] == "markdown":
        assert known["grade"]
        assert known["solution"]


def test_grade_ids_are_unique() -> None:
    assert max(Counter(_known(cell)["grade_id"] for cell in GRADED).values()) == 1


def test_every_code_cell_has_nbgrader_metadata() -> None:
    """Otherwise a student could change it, and it would not be restored."""
    assert [cell["id"] for cell in RAW if cell["cell_type"] == "code" and cell not in GRADED] == []


@pytest.mark.parametrize("cell", GRADED, ids=lambda cell: cell["id"])
def test_markers_are_paired_and_in_the_right_cells(cell: dict[str, Any]) -> None:
    known, text = _known(cell), _source(cell)
    for marker, expected in (
        ("SOLUTION", known["solution"]),
        ("HIDDEN TESTS", known["grade_id"].endswith("-hidden")),
    ):
        begins, ends = text.count(f"### BEGIN {marker}"), text.count(f"### END {marker}")
        assert begins == ends
        assert (begins > 0) == expected


@pytest.mark.parametrize("task", TASKS)
def test_the_students_version_contains_nothing_of_the_solution(task: str) -> None:
    left = untouched(task)
    compile(left, task, "exec")
    own = {line.strip() for line in solution(task).splitlines()}
    kept = {line.strip() for line in left.splitlines()} & own
    assert "NotImplementedError" in left
    assert all(line.startswith(('"""', "def ")) or not line for line in kept), kept


@pytest.mark.parametrize("cell", GRADED, ids=lambda cell: cell["id"])
def test_hidden_test_cells_contain_nothing_outside_the_markers(cell: dict[str, Any]) -> None:
    if not _known(cell)["grade_id"].endswith("-hidden"):
        return
    before, _, rest = _source(cell).partition("### BEGIN HIDDEN TESTS\n")
    after = rest.partition("### END HIDDEN TESTS")[2]
    assert all(line.startswith("#") for line in before.splitlines())
    assert not after.strip()


@pytest.mark.parametrize("cell", GRADED, ids=lambda cell: cell["id"])
def test_tests_import_what_they_use(cell: dict[str, Any]) -> None:
    """An answer may have reassigned the names of earlier cells."""
    known = _known(cell)
    if known["grade"] and cell["cell_type"] == "code":
        text = _source(cell)
        assert "stores" not in text or "with fresh_stores() as stores:" in text
        assert "shop." not in text
        assert "traced" not in text, "round trips are counted outside the student's process"


def _from_outside(source: str) -> set[str]:
    """Return the names that a cell uses but does not define."""
    found: set[str] = set()
    top = symtable.symtable(source, "cell", "exec")
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() or (table is top and not symbol.is_assigned()):
                found.add(symbol.get_name())
    own = {
        name.get_name() for name in top.get_symbols() if name.is_assigned() or name.is_imported()
    }
    return found - own - set(dir(builtins))


@pytest.mark.parametrize("task", TASKS)
def test_a_test_uses_no_name_of_another_task(task: str) -> None:
    """Therefore a mistake in one task cannot cost points in another."""
    answers = _set_by(solution(task))
    for cell in cells():
        if cell.kind == "test" and cell.task == task:
            used = _from_outside(cell.text)
            assert used <= answers | {"SEED", "market"}, cell.key
            assert used & answers, cell.key


@pytest.mark.parametrize("task", TASKS)
def test_a_solution_uses_only_names_given_in_its_task(task: str) -> None:
    given = set().union(
        *(_set_by(cell.text) for cell in cells() if cell.task == task and cell.kind == "given")
    )
    assert _from_outside(solution(task)) <= given


def _set_by(source: str) -> set[str]:
    top = symtable.symtable(source, "cell", "exec")
    return {
        name.get_name() for name in top.get_symbols() if name.is_assigned() or name.is_imported()
    }


@pytest.mark.parametrize("task", TASKS)
def test_the_rubric_has_the_points_of_the_text_cell(task: str) -> None:
    (points,) = (cell.points for cell in cells() if cell.task == task and cell.kind == "manual")
    number = next(
        place
        for place, cell in enumerate(RAW)
        if cell["id"].startswith(f"{task}-")
        and cell["id"].endswith("-text")
        and "nbgrader" in cell["metadata"]
    )
    question = _source(RAW[number - 1])
    assert "*Looked for:*" in question
    assert question.count("one point for") == points


def test_the_table_of_points_matches_the_cells() -> None:
    table = _source(next(cell for cell in RAW if cell["id"] == "rules"))
    for task in TASKS:
        points = [
            sum(cell.points for cell in cells() if cell.task == task and cell.key.endswith(end))
            for end in ("-visible", "-hidden", "-text")
        ]
        numbers = " | ".join(f"{number:g}" for number in [*points, sum(points)])
        assert f"| {task.upper()} | " in table
        assert f" | {numbers} |" in table
