"""Submissions: find them in a folder, and rebuild the notebook that is graded.

The rebuilt notebook follows the source: locked cells and tests are the source's, answers are the
submission's, and each cell that the student added stays after the cell it followed. What had to be
corrected is noted.
"""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course.grading.source import Cell, Notebook, Source, SourceCell, key_of, text_of
from helpers.errors import GradingError

_NOTEBOOK = ".ipynb"
_LARGEST_MIB = 50


@dataclass(frozen=True)
class Submission:
    """A student, named by the file or folder, with the notebook or the reason for having none."""

    student: str
    notebook: Path | None
    refusal: str = ""


def collect(folder: Path, project: str) -> list[Submission]:
    """Return the submissions in ``folder``, sorted by the students' names.

    Each entry is one student's: a notebook, or a folder that contains one notebook at any depth. If
    a folder contains several, the one called ``project`` counts. Names that begin with a dot are
    ignored.

    Raises ``GradingError`` if the folder cannot be read or two entries name the same student.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise GradingError(
            f"{folder} cannot be read ({(error.strerror or str(error)).lower()}): name the folder "
            "of submissions by SUBMISSIONS."
        ) from None
    found = [_submission(entry, project) for entry in entries if not entry.name.startswith(".")]
    names = [submission.student for submission in found]
    for name in names:
        if names.count(name) > 1:
            raise GradingError(
                f"{folder} has a notebook and a folder that are both called {name}: whose is "
                "which? Rename one."
            )
    return found


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
        if about.st_size > _LARGEST_MIB * 2**20:
            raise GradingError(f"The file is larger than {_LARGEST_MIB} MiB.")
        return file.read()


def text_of_file(notebook: Path) -> str:
    """Return the text of a submitted file. Raises ``GradingError`` if it is not UTF-8 text."""
    try:
        return content(notebook).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GradingError("The file is not text, so it is not a notebook.") from None


def _submission(entry: os.DirEntry[str], project: str) -> Submission:
    if entry.is_symlink():
        return Submission(_name(entry.name), None, "The submission is a link, not a file.")
    if entry.is_dir():
        return _from_folder(Path(entry.path), project)
    if not entry.name.lower().endswith(_NOTEBOOK):
        return Submission(_name(entry.name), None, "The submission is not a notebook.")
    return Submission(_name(entry.name[: -len(_NOTEBOOK)]), Path(entry.path))


def _from_folder(folder: Path, project: str) -> Submission:
    found = []
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(above) / name for name in files if name.lower().endswith(_NOTEBOOK)]
    named = [path for path in found if path.name == project] if len(found) > 1 else found
    student = _name(folder.name)
    if not found:
        return Submission(student, None, "There is no notebook in the submitted folder.")
    if len(named) != 1:
        return Submission(student, None, f"There are {len(found)} notebooks: which one is it?")
    return Submission(student, named[0])


def _name(text: str) -> str:
    """Return a name that can be printed anywhere: other characters become question marks."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() else "?" for char in shown)


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

    ``texts`` are the answers that are graded by hand, ``notes`` what was corrected.
    """

    steps: tuple[Step, ...]
    texts: dict[str, str]
    notes: tuple[str, ...]


@dataclass
class _Sorted:
    """A submission's cells, matched to the source's cells."""

    found: dict[str, Cell] = field(default_factory=dict)
    behind: dict[str, list[Cell]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def restore(source: Source, notebook: Notebook) -> Restored:
    """Return what to run in order to grade ``notebook``, a submission of ``source``'s project.

    Raises ``GradingError`` if it contains none of the project's answer cells.
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
            # A copied answer cell carries the same name: run it too, in its place.
            sorted_.behind.setdefault(anchor, []).append(cell)
    return sorted_


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
