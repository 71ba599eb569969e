"""Read and write ``grades.csv``: a row per student, and what was entered in it by hand.

Columns per task: the points of its tests, ``… by hand`` for each answer in words, ``… override``
(replaces all points of the task) and ``… comment``. Other columns and rows are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course.grading.results import NOT_RUN, Result, points
from course.grading.source import Source, SourceCell
from course.grading.tables import (
    Table,
    back_up,
    comparable,
    harmless,
    no_formula,
    original,
    read_table,
    replace_file,
    safe_text,
    to_csv,
)
from helpers.errors import GradingError

_MOST_SENTENCES = 5
_MOST_ERRORS = 20
_LONGEST = 200
_NUMBER = re.compile(r"\d+(?:[.,]\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_OURS = (
    "{place} is not a gradebook ({why}), and overwriting it could lose points that were entered by "
    "hand: move it, or give another folder as TO."
)


@dataclass(frozen=True)
class Entered:
    """What was entered by hand for one student.

    ``points`` are by answer in words (the cell's name), ``overrides`` and ``comments`` by task.
    ``cells`` is the student's row as it is in the file.
    """

    points: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[str, float] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Book:
    """The content of a gradebook: what was entered, by student, and the instructor's columns."""

    students: Mapping[str, Entered] = field(default_factory=dict)
    own_columns: tuple[str, ...] = ()
    separator: str = ","

    def entered(self, students: Iterable[str]) -> dict[str, Entered]:
        """Return what was entered for each of ``students``.

        A row belongs to the student of exactly its name, or else to the only student whose name
        differs just in what spreadsheets change.
        """
        names = list(students)
        found = {name: self.students[name] for name in names if name in self.students}
        rows = _unique(row for row in self.students if row not in found)
        open_names = _unique(name for name in names if name not in found)
        for name in open_names.keys() & rows.keys():
            found[open_names[name]] = self.students[rows[name]]
        return {name: found.get(name, Entered()) for name in names}

    def unmatched(self, students: Iterable[str]) -> list[str]:
        """Return the names of the rows that belong to none of ``students``."""
        used = {id(entered) for entered in self.entered(students).values()}
        return [name for name, entered in self.students.items() if id(entered) not in used]


def _unique(names: Iterable[str]) -> dict[str, str]:
    """Return names by their comparable form, without those that share it."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(comparable(name), []).append(name)
    return {form: sharing[0] for form, sharing in found.items() if len(sharing) == 1}


def hand_columns(source: Source) -> dict[str, SourceCell]:
    """Return the answers in words by the column that holds their points."""
    return {
        f"{task if len(cells) == 1 else cell.key} by hand": cell
        for task in source.tasks()
        if (cells := source.manual(task))
        for cell in cells
    }


def columns(source: Source) -> list[str]:
    """Return the column names, without the instructor's."""
    hand = hand_columns(source)
    found = ["student"]
    for task in source.tasks():
        found += [task] if source.tests(task) else []
        found += [column for column, cell in hand.items() if cell.task == task]
        found += [f"{task} override", f"{task} comment"]
    return [*found, "automatic", "total", "status"]


def worth(source: Source, task: str | None = None) -> float:
    """Return the most points of ``task``, or of the project."""
    return sum(cell.points for cell in [*source.tests(task), *source.manual(task)])


def task_points(source: Source, result: Result, task: str, entered: Entered) -> float | None:
    """Return a student's points for a task, or ``None`` while some are missing.

    An override counts alone. An answer in words that is empty counts 0 unless it has points.
    """
    if task in entered.overrides:
        return entered.overrides[task]
    if result.refusal:
        return None
    parts = [
        entered.points.get(cell.key, None if result.texts.get(cell.key, "").strip() else 0.0)
        for cell in source.manual(task)
    ]
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return None
    return points(source, result, task) + sum(given)


def total(source: Source, result: Result, entered: Entered) -> float | None:
    """Return a student's points, or ``None`` while some are missing."""
    parts = [task_points(source, result, task, entered) for task in source.tasks()]
    given = [part for part in parts if part is not None]
    return sum(given) if len(given) == len(parts) else None


def row(
    source: Source,
    student: str,
    result: Result,
    entered: Entered | None = None,
    notes: Iterable[str] = (),
    separator: str = ",",
) -> dict[str, str]:
    """Return a student's row. ``notes`` are sentences about how the work was handed in.

    A submission that could not be run has no points: it is for the instructor to decide.
    """
    entered = entered or Entered()
    graded = {task: points(source, result, task) for task in source.tasks() if source.tests(task)}
    shown = {task: "" if result.refusal else number(found) for task, found in graded.items()}
    sum_ = total(source, result, entered)
    numbers = {
        **shown,
        "automatic": "" if result.refusal else number(sum(graded.values())),
        "total": "" if sum_ is None else number(sum_),
    }
    if separator == ";":  # the spreadsheet of a country with decimal commas
        numbers = {column: text.replace(".", ",") for column, text in numbers.items()}
    sentences = " ".join([status(result), *notes])
    return {
        **entered.cells,
        "student": harmless(student),
        **numbers,
        "status": no_formula(" ".join(sentences.split())),
    }


def number(value: float) -> str:
    """Return points as text, without a fraction if there is none."""
    return f"{value:.10g}"


def status(result: Result) -> str:
    """Return in a few sentences what went wrong, or that nothing did."""
    if result.refusal:
        return result.refusal
    sentences: list[str] = []
    sentences += result.events
    # A cell that was stopped is already among the events.
    failed = {n: why for n, why in result.failures.items() if f"{n} {why}." not in result.events}
    if failed:
        name, why = next(iter(failed.items()))
        others = f" ({len(failed) - 1} more failed too)" if failed.keys() - {name} else ""
        sentences.append(f"{name} {why}{others}.")
    sentences += result.notes
    sentences += _tested(result, alone=not sentences)
    more = [f"And {len(sentences) - _MOST_SENTENCES} more; see the feedback."]
    shown = sentences[:_MOST_SENTENCES] + (more if sentences[_MOST_SENTENCES:] else [])
    return " ".join(" ".join(shown).split())


def _tested(result: Result, *, alone: bool) -> list[str]:
    """Return how many tests passed, and the first one that ran and failed."""
    missed = {name: verdict.why for name, verdict in result.verdicts.items() if not verdict.passed}
    ran = {name: why for name, why in missed.items() if not why.startswith(NOT_RUN)}
    count, passed = len(result.verdicts), len(result.verdicts) - len(missed)
    if ran:
        name, why = next(iter(ran.items()))
        return [f"{passed} of {count} tests passed; {name}: {why[:_LONGEST]}."]
    return [f"It ran to its end; {passed} of {count} tests passed."] if alone else []


def write(
    place: Path,
    source: Source,
    results: Mapping[str, Result],
    book: Book,
    notes: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Write the rows of all students to ``place``, then the rows of ``book`` that match none.

    The file is replaced atomically, and its earlier content copied to ``backups`` next to it.
    """
    entered = book.entered(results)
    said = notes or {}
    rows = [
        row(source, student, result, entered[student], said.get(student, ()), book.separator)
        for student, result in results.items()
    ]
    rows += [dict(book.students[name].cells) for name in book.unmatched(results)]
    text = to_csv([*columns(source), *book.own_columns], rows, book.separator)
    # The mark at the beginning tells spreadsheets that the file is UTF-8.
    data = text.encode("utf-8-sig", "replace")
    # In this order, ``read`` finds at every moment a copy of the gradebook as it is.
    folder = _backups(place)
    if place.exists() and place.read_bytes() != data:
        back_up(place, folder)
    replace_file(folder / "written.csv", data)
    replace_file(place, data)


def _backups(place: Path) -> Path:
    return place.parent / "backups"


def read(place: Path, source: Source) -> Book:
    """Read the gradebook at ``place``; an empty one if there is no such file.

    Raises ``GradingError`` if it is not a gradebook, or names the rows whose points are not numbers
    from 0 to the most that the task has: nothing must be overwritten then.
    """
    try:
        table = read_table(place)
    except FileNotFoundError:
        return Book()
    missing = {"student", "automatic"} - set(table.columns)
    if missing:
        why = f"it has no column {' and no column '.join(sorted(missing))}"
        raise GradingError(_NOT_OURS.format(place=place, why=why))
    computed = [_computed(copy) for copy in sorted(_backups(place).glob("*.csv"))]
    students: dict[str, Entered] = {}
    rows: dict[str, int] = {}
    errors: list[str] = []
    for line, cells in table.rows.items():
        name = original(cells["student"].strip())
        shown = safe_text(name, 60) or "without a name"
        if name in students:
            errors.append(f"rows {rows[name]} and {line} are both {shown}")
        rows[name] = line
        students[name] = _entered(source, cells)
        errors += (f"row {line}, {shown}: {error}" for error in _errors(source, cells))
        known = [by_name[name] for by_name in computed if name in by_name]
        errors += (f"row {line}, {shown}: {error}" for error in _overwritten(source, cells, known))
    if errors:
        more = f"; and {len(errors) - _MOST_ERRORS} more" if errors[_MOST_ERRORS:] else ""
        raise GradingError(
            f"{place} was not changed: {'; '.join(errors[:_MOST_ERRORS])}{more}. Correct these "
            "cells, and grade again."
        )
    return Book(students, _own(table, source), table.separator)


def _own(table: Table, source: Source) -> tuple[str, ...]:
    ours = set(columns(source))
    return tuple(column for column in table.columns if column not in ours)


def _entered(source: Source, cells: Mapping[str, str]) -> Entered:
    found = {column: value(cells.get(column, "")) for column in _limits(source)}
    hand = {cell.key: found[column] for column, cell in hand_columns(source).items()}
    overrides = {task: found[f"{task} override"] for task in source.tasks()}
    comments = {task: cells.get(f"{task} comment", "").strip() for task in source.tasks()}
    return Entered(
        {key: points for key, points in hand.items() if points is not None},
        {task: points for task, points in overrides.items() if points is not None},
        {task: text for task, text in comments.items() if text},
        cells,
    )


def _limits(source: Source) -> dict[str, float]:
    """Return the most points of each column that holds points entered by hand."""
    return {
        **{column: cell.points for column, cell in hand_columns(source).items()},
        **{f"{task} override": worth(source, task) for task in source.tasks()},
    }


def _errors(source: Source, cells: Mapping[str, str]) -> Iterator[str]:
    for column, most in _limits(source).items():
        text = cells.get(column, "").strip()
        found = value(text)
        if not text or (found is not None and 0 <= found <= most):
            continue
        hint = ""
        if found is None and re.search(r"\d\D+\d|[a-z]{3}", text, re.IGNORECASE):
            hint = " (a spreadsheet turns 1.5 into a date if it expects 1,5)"
        yield f"{column!r} is {safe_text(text, 40)!r}, not a number from 0 to {most:g}{hint}"


def _computed(copy: Path) -> dict[str, dict[str, str]]:
    """Return the rows of an earlier gradebook by name; none if there is no such file."""
    try:
        rows = read_table(copy).rows.values()
    except (FileNotFoundError, GradingError):
        return {}
    return {original(row["student"].strip()): row for row in rows if row.get("student")}


def _overwritten(
    source: Source, cells: Mapping[str, str], known: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    """Yield a sentence for each computed number that was replaced: the next run would undo that.

    Numbers that a spreadsheet has turned into dates, and empty cells, are just computed again.
    """
    for column in (*(task for task in source.tasks() if source.tests(task)), "automatic", "total"):
        text = cells.get(column, "").strip()
        number_ = value(text)
        written = [value(row.get(column, "")) for row in known]
        is_damaged = number_ is None and any(char.isdigit() for char in text)
        is_entered = text and not is_damaged and (number_ is None or number_ not in written)
        if known and is_entered:
            task = column if column in source.tasks() else source.tasks()[0]
            yield (
                f"{column!r} is {safe_text(text, 40)!r} instead of a computed number: enter points "
                f"of your own in '{task} override', for example"
            )


def value(text: str) -> float | None:
    """Return ``text`` as a number, also with a decimal comma; ``None`` if it is not one."""
    plain = original(text.strip()).strip()
    return float(plain.replace(",", ".")) if _NUMBER.fullmatch(plain) else None
