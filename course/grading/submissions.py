"""Rebuild the notebook that is graded from a submitted one.

The rebuilt notebook follows the source: locked cells and tests are the source's, answers are the
submission's, and each cell that the student added stays after the cell it followed. What had to be
corrected is noted. A cell without its name is recognized by what it defines or where it is.
"""

from __future__ import annotations

import ast
import os
import re
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course.grading.source import (
    TEXT_STUB,
    Cell,
    Notebook,
    Source,
    SourceCell,
    key_of,
    text_of,
)
from helpers.errors import GradingError

#: The largest notebook that is graded.
LARGEST_MIB = 50
_LARGEST_PICTURE = 10_000_000  # characters of base64
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_ATTACHMENT = re.compile(r"!\[([^\]\n]{0,200})\]\(attachment:([^)\s]{1,300})\)")


def content(notebook: Path) -> bytes:
    """Return the bytes of a submitted file.

    Raises ``GradingError`` if it is not a regular file, cannot be read, or is too large.
    """
    try:
        # Do not follow a link: it could lead to a file that we can read and the student cannot.
        descriptor = os.open(notebook, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise GradingError(f"The file cannot be read ({cause}).") from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise GradingError("The submission is not a regular file.")
    with os.fdopen(descriptor, "rb") as file:
        if about.st_size > LARGEST_MIB * 2**20:
            raise GradingError(f"The file is larger than {LARGEST_MIB} MiB.")
        return file.read()


def text_of_file(notebook: Path) -> str:
    """Return the text of a submitted file. Raises ``GradingError`` if it is not UTF-8 text."""
    try:
        return content(notebook).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GradingError("The file is not text, so it is not a notebook.") from None


@dataclass(frozen=True)
class Step:
    """A cell to run; ``source`` is the project's cell that it stands for, if any."""

    name: str
    text: str
    source: SourceCell | None = None

    @property
    def is_test(self) -> bool:
        """Whether the grader runs it as a test, for points."""
        return self.source is not None and self.source.kind == "test"

    @property
    def bound_names(self) -> list[str]:
        """The names that a locked cell defines; later tests see these definitions."""
        if self.source is None or self.source.kind != "given":
            return []
        return names_bound_by(self.text)


@dataclass(frozen=True)
class Restored:
    """The steps to run, in order.

    ``texts`` are the answers that are graded by hand, empty if there is none; ``notes`` what was
    corrected.
    """

    steps: tuple[Step, ...]
    texts: dict[str, str]
    notes: tuple[str, ...]


@dataclass
class _Sorted:
    """A submission's cells, matched to the source's cells."""

    found: dict[str, Cell] = field(default_factory=dict)
    behind: dict[str, list[Cell]] = field(default_factory=dict)
    texts: dict[str, list[Cell]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def restore(source: Source, notebook: Notebook) -> Restored:
    """Return what to run in order to grade ``notebook``, a submission of ``source``'s project.

    Raises ``GradingError`` if it contains none of the project's answer cells.
    """
    known = {cell.key: cell for cell in source.cells}
    sorted_ = _sort(notebook, _keys(source, notebook), known)
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
    return Restored(tuple(steps), _answers(source, sorted_), tuple(_notes(source, sorted_)))


def names_bound_by(text: str) -> list[str]:
    """Return the names that the statements of ``text`` define, import or assign."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # an IPython magic
        return []
    names: list[str] = []
    for statement in tree.body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.append(statement.name)
            case ast.Import() | ast.ImportFrom():
                names += [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
            case ast.Assign():
                names += [name for target in statement.targets for name in _names(target)]
            case ast.AnnAssign():
                names += _names(statement.target)
    return names


def modules_used_by(texts: Iterable[str]) -> list[str]:
    """Return the modules of the course's packages that ``texts`` import."""
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
                found |= {alias.name for alias in node.names}
    return sorted(name for name in found if name.partition(".")[0] in {"helpers", "course"})


def _names(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def _keys(source: Source, notebook: Notebook) -> list[str | None]:
    """Return for each submitted cell the name of the source cell that it is, if any.

    If cells have lost their metadata, locked cells are recognized by their text, answers by what
    they define, and answers in words by being after their question.
    """
    known = {cell.key for cell in source.cells}
    keys = [key if (key := key_of(cell)) in known else None for cell in notebook["cells"]]
    # A cell that has no name in the source either is the student's, in ``make check``.
    named = {key_of(cell) for cell in source.notebook["cells"]}
    lost = [cell for cell in source.cells if cell.key in named and cell.key not in keys]
    if not lost:
        return keys
    texts = [text_of(cell).strip() for cell in notebook["cells"]]
    code = [cell["cell_type"] == "code" for cell in notebook["cells"]]
    bound = [_bound_by(cell) for cell in notebook["cells"]]
    for cell in lost:
        free = [n for n, key in enumerate(keys) if key is None and code[n] == cell.code]
        if cell.kind == "answer":
            wanted = set(names_bound_by(cell.text))
            # The last of the best: the student's final version.
            shared = max((len(bound[n] & wanted) for n in free), default=0)
            same = [n for n in free if shared and len(bound[n] & wanted) == shared][-1:]
        if cell.kind != "answer" or not same:
            same = [n for n in free if texts[n] == cell.released().strip()][:1]
        for n in same:
            keys[n] = cell.key
    for before, cell in zip(source.cells, source.cells[1:], strict=False):
        if cell.kind == "manual" and cell.key not in keys and before.key in keys:
            n = keys.index(before.key) + 1
            if n < len(keys) and keys[n] is None and not code[n]:
                keys[n] = cell.key
    return keys


def _bound_by(cell: Cell) -> set[str]:
    """Return the names that a submitted code cell defines; its lines for IPython are left out."""
    if cell["cell_type"] != "code":
        return set()
    lines = text_of(cell).splitlines()
    plain = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about the student's code
        try:
            return set(names_bound_by(plain))
        except (ValueError, RecursionError, MemoryError):
            return set()


def _sort(notebook: Notebook, keys: list[str | None], known: dict[str, SourceCell]) -> _Sorted:
    sorted_ = _Sorted()
    anchor = ""
    for cell, key in zip(notebook["cells"], keys, strict=True):
        if key is not None and key not in sorted_.found:
            sorted_.found[key] = cell
            sorted_.order.append(key)
            anchor = key
        elif key is not None and known[key].restored:
            sorted_.doubled.append(key)
        elif cell["cell_type"] == "code":
            # A copied answer cell carries the same name: run it too, in its place.
            sorted_.behind.setdefault(anchor, []).append(cell)
        else:
            sorted_.texts.setdefault(anchor, []).append(cell)
    return sorted_


def _answers(source: Source, sorted_: _Sorted) -> dict[str, str]:
    """Return the answers in words, by cell name, with the other texts beside them.

    A text that the student added, or wrote into a text cell of the task, belongs to the next answer
    in words of the task, or to its last one. An answer that was not written is empty.
    """
    parts: dict[str, list[str]] = {cell.key: [] for cell in source.manual()}
    for number, cell in enumerate(source.cells):
        found = sorted_.found.get(cell.key)
        mine = [found] if found is not None and _is_written(cell, found) else []
        manual = source.manual(cell.task)
        if texts := [*mine, *sorted_.texts.get(cell.key, [])]:
            after = [other for other in manual if source.cells.index(other) >= number]
            for place in (after or manual[-1:])[:1]:
                parts[place.key] += (_with_pictures(text) for text in texts)
    return {key: "\n\n".join(filter(None, texts)) for key, texts in parts.items()}


def _is_written(cell: SourceCell, found: Cell) -> bool:
    """Return whether a text cell of the source has a text of the student."""
    if cell.kind not in {"manual", "free"} or cell.code:
        return False
    return text_of(found).strip() not in {cell.released().strip(), cell.text.strip()}


def _with_pictures(cell: Cell) -> str:
    """Return a cell's text without the stub; attached pictures become ``data:`` addresses."""
    lines = [line for line in text_of(cell).splitlines() if line.strip() not in TEXT_STUB]
    attached = cell.get("attachments")

    def replaced(found: re.Match[str]) -> str:
        data = attached.get(found[2]) if isinstance(attached, dict) else None
        for kind in _PICTURES:
            content = data.get(kind) if isinstance(data, dict) else None
            if isinstance(content, str) and len(content) <= _LARGEST_PICTURE:
                return f"![{found[1]}](data:{kind};base64,{''.join(content.split())})"
        return f"[the picture {found[2]} cannot be shown]"

    text = _ATTACHMENT.sub(replaced, "\n".join(lines)).strip()
    return text.encode("utf-8", "replace").decode()  # JSON may contain lone surrogates


def _own_steps(cells: list[Cell], after: str) -> list[Step]:
    return [
        Step(f"own cell {number} after {after}", text_of(cell))
        for number, cell in enumerate(cells, start=1)
    ]


def _as_graded(cell: SourceCell) -> str:
    """Return the text to run for a source cell: tests and locked cells whole, others unsolved."""
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
