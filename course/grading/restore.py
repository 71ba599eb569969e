"""Make the notebook that is graded: the submission's answers in the source's order.

Locked cells and tests come from the source, whatever the submission made of them. The answers are
the submission's, each at its place in the source; cells of its own stay behind the cell that they
stood behind. What had to be put right is said.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from course.grading.source import Cell, Notebook, Source, SourceCell, key_of, text_of
from helpers.errors import GradingError


@dataclass(frozen=True)
class Step:
    """A cell to be run: ``source`` is the project's cell that it is, if it is one of them."""

    name: str
    text: str
    source: SourceCell | None = None

    @property
    def is_test(self) -> bool:
        """Whether the grader runs it, beside the notebook, for points."""
        return self.source is not None and self.source.kind == "test"

    @property
    def bound_names(self) -> list[str]:
        """The names that a locked cell binds, which mean the same to every later test."""
        if self.source is None or self.source.kind != "given":
            return []
        return names_bound_by(self.text)


@dataclass(frozen=True)
class Restored:
    """What is run, in order; ``texts`` are the answers graded by hand, ``notes`` what was odd."""

    steps: tuple[Step, ...]
    texts: dict[str, str]
    notes: tuple[str, ...]


@dataclass
class _Sorted:
    """A submission's cells, by the source's cells."""

    found: dict[str, Cell] = field(default_factory=dict)
    behind: dict[str, list[Cell]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def restore(source: Source, notebook: Notebook) -> Restored:
    """Return what is run to grade ``notebook``, a submission of the project that ``source`` is.

    Raises ``GradingError`` when there is nothing of the project in it.
    """
    known = {cell.key: cell for cell in source.cells}
    sorted_ = _sort(notebook, known)
    if not any(known[key].kind in {"answer", "manual"} for key in sorted_.found):
        raise GradingError("None of the project's answer cells is in the notebook.")
    steps = [*_own_steps(sorted_.behind.get("", []), "the beginning")]
    for cell in source.cells:
        if cell.code:
            found = sorted_.found.get(cell.key)
            mine = cell.restored or found is None
            text = _as_graded(cell) if mine or found is None else text_of(found)
            steps.append(Step(cell.key, text, cell))
        steps += _own_steps(sorted_.behind.get(cell.key, []), cell.key)
    texts = {
        cell.key: text_of(sorted_.found[cell.key])
        for cell in source.manual()
        if cell.key in sorted_.found
    }
    return Restored(tuple(steps), texts, tuple(_notes(source, sorted_)))


def names_bound_by(text: str) -> list[str]:
    """Return the names that the statements of ``text`` define, import, assign or open."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a magic of IPython's
        return []
    names: list[str] = []
    for statement in tree.body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.append(statement.name)
            case ast.Import() | ast.ImportFrom():
                names += [one.asname or one.name.partition(".")[0] for one in statement.names]
            case ast.Assign():
                names += [name for target in statement.targets for name in _names(target)]
            case ast.AnnAssign():
                names += _names(statement.target)
    return names


def modules_used_by(texts: Iterable[str]) -> list[str]:
    """Return the modules of the course's packages that the imports in ``texts`` name."""
    found = {"helpers", "course"}
    for text in texts:
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
            elif isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
    return sorted(name for name in found if name.partition(".")[0] in {"helpers", "course"})


def _names(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def _sort(notebook: Notebook, known: dict[str, SourceCell]) -> _Sorted:
    sorted_ = _Sorted()
    anchor = ""
    for cell in notebook["cells"]:
        key = key_of(cell)
        if key in known and key not in sorted_.found:
            sorted_.found[key] = cell
            sorted_.order.append(key)
            anchor = key
        elif key in known and known[key].restored:
            sorted_.doubled.append(key)
        elif cell["cell_type"] == "code":
            # A copy of an answer cell carries its name: it is run too, where it stands.
            sorted_.behind.setdefault(anchor, []).append(cell)
    return sorted_


def _own_steps(cells: list[Cell], after: str) -> list[Step]:
    return [
        Step(f"own cell {number} after {after}", text_of(cell))
        for number, cell in enumerate(cells, start=1)
    ]


def _as_graded(cell: SourceCell) -> str:
    """Return what of the source is run: its tests and locked cells whole, but no solution."""
    return cell.text if cell.restored else cell.released()


def _notes(source: Source, sorted_: _Sorted) -> Iterable[str]:
    locked = [cell for cell in source.cells if cell.restored]
    missing = [cell.key for cell in locked if cell.key not in sorted_.found]
    edited = [
        cell.key
        for cell in locked
        if cell.key in sorted_.found
        and text_of(sorted_.found[cell.key]).strip() not in {cell.released().strip(), cell.text}
    ]
    order = [cell.key for cell in source.cells if cell.key in sorted_.found]
    no_answer = [
        cell.key
        for cell in source.cells
        if cell.kind in {"answer", "manual"} and cell.key not in sorted_.found
    ]
    for keys, what in (
        (edited, "edited and was put back as it was"),
        (missing, "removed and was put back"),
        (list(dict.fromkeys(sorted_.doubled)), "doubled and counts once"),
    ):
        if keys:
            yield f"{_listed(keys)}: a locked cell that was {what}."
    if no_answer:
        yield f"{_listed(no_answer)}: this answer cell is missing."
    if order != sorted_.order:
        yield "Cells were in another order, and were run in the project's."


def _listed(keys: list[str]) -> str:
    return ", ".join(keys)
