"""Write what leaves the grader: gradebook, feedback, questions, and files for learning platforms.

Moodle imports the grading worksheet that it exported, with grades filled in: the columns
``Identifier``, ``Grade`` and ``Last modified (grade)`` must be there
(``mod/assign/feedback/offline/importgradeslib.php``). Canvas imports its exported gradebook: the
columns from ``Student`` to ``Section``, and one per assignment, ``Title (id)``
(``lib/gradebook_importer.rb``). Both import feedback from a zip file by the names that they gave:
Moodle by its folders (``mod/assign/feedback/file/importziplib.php``), Canvas by the ids of the
student and of the upload in a file's name (``infer_comment_context_from_filename``).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course.grading import feedback, gradebook
from course.grading.incoming import Submission
from course.grading.results import Result
from course.grading.source import Source
from course.grading.tables import Table, comparable, file_name, read_table, replace_file, to_csv
from helpers.errors import GradingError

#: Columns that identify a student, the most reliable first, in lower case.
_USER_NAMES = ("username", "github_username", "login", "sis login id")
_ADDRESSES = ("email", "email address")
_PLATFORM_IDS = ("identifier", "id")
_IDS = (
    *_PLATFORM_IDS,
    *("sid", "student id", "sis user id", "id number"),
    *_USER_NAMES,
    *_ADDRESSES,
)
_NAMES = ("full name", "student", "name", "student name")
_MOODLE = ("Identifier", "Grade", "Last modified (grade)")
_CANVAS = ("Student", "ID", "Section")
_POINTS_POSSIBLE = "Points Possible"
#: The same submissions give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Roster:
    """The students of a course, from a CSV file, best the grade file of the learning platform.

    ``assignment`` is Canvas's column for the grades, if the file is Canvas's.
    """

    table: Table
    assignment: str = ""

    @property
    def is_moodle(self) -> bool:
        """Whether it is a grading worksheet of Moodle."""
        return set(_MOODLE) <= set(self.table.columns)

    @property
    def is_canvas(self) -> bool:
        """Whether it is a gradebook of Canvas."""
        return set(_CANVAS) <= set(self.table.columns)

    def students(self) -> dict[int, dict[str, str]]:
        """Return the rows of students, by their number in the file; the columns in lower case."""
        rows = {
            number: {column.casefold(): cell.strip() for column, cell in row.items()}
            for number, row in self.table.rows.items()
        }
        return {
            number: row
            for number, row in rows.items()
            if any(row.get(column) for column in _IDS)
            and _POINTS_POSSIBLE not in row.get("student", "")
        }

    def matched(self, submissions: Iterable[Submission]) -> dict[int, Submission]:
        """Return the submissions of the students, by the number of the row.

        An id, a user name or an address decides, then a full name, if only one student has it. In
        a platform's grade file, only its own id decides whose a submission from its export is.
        """
        is_platforms = self.is_moodle or self.is_canvas
        found: dict[int, Submission] = {}
        waiting = list(submissions)
        students = self.students()
        for column in (*_IDS, *_NAMES):
            rows: dict[str, list[int]] = {}
            for number, row in students.items():
                for key in _keys(row, column):
                    rows.setdefault(key, []).append(number)
            for submission in list(waiting):
                if is_platforms and submission.feedback and column not in _PLATFORM_IDS:
                    continue
                forms = {form for name in submission.names for form in _forms(name, column)}
                numbers = {number for form in forms for number in rows.get(form, ())}
                if len(numbers) == 1 and not numbers & found.keys():
                    found[numbers.pop()] = submission
                    waiting.remove(submission)
        return found


def read_roster(place: Path, source: Source, assignment: str = "") -> Roster:
    """Read a roster: any CSV file with a column for ids, addresses or user names.

    ``assignment`` names the column of the grades in a gradebook of Canvas, or its beginning.

    Raises ``GradingError`` if the file cannot be read, names no students, or if the platform
    expects another sum of points than the project has.
    """
    try:
        roster = Roster(read_table(place))
    except FileNotFoundError:
        raise GradingError(f"There is no {place}: name the course's CSV file by ROSTER.") from None
    if not roster.students():
        raise GradingError(
            f"{place} has no column that identifies students: {', '.join(_IDS)} are known."
        )
    if roster.is_canvas:
        roster = Roster(roster.table, _assignment(place, roster.table, source, assignment))
    _check_points(place, roster, source)
    return roster


def _assignment(place: Path, table: Table, source: Source, wanted: str) -> str:
    wanted = wanted or source.title()
    columns = [column for column in table.columns if re.fullmatch(r".+ \(\d+\)", column)]
    found = [column for column in columns if comparable(column).startswith(comparable(wanted))]
    found = columns if len(columns) == 1 else found
    if len(found) != 1:
        raise GradingError(
            f"{place} has no single column for {wanted!r}, but {', '.join(columns) or 'none'}: "
            "name the column by ASSIGNMENT."
        )
    return found[0]


def _check_points(place: Path, roster: Roster, source: Source) -> None:
    most = gradebook.worth(source)
    column = roster.assignment or "Maximum Grade"
    rows = roster.table.rows.values()
    expected = {
        found
        for row in rows
        if (roster.is_moodle or _POINTS_POSSIBLE in row.get("Student", ""))
        and (found := gradebook.value(row.get(column, ""))) is not None
    }
    if expected - {most}:
        raise GradingError(
            f"{place} expects at most {max(expected):g} points, and the project has {most:g}: set "
            f"the assignment's maximum to {most:g}, and export the file again."
        )


def _keys(row: Mapping[str, str], column: str) -> set[str]:
    """Return what identifies the student of a row in ``column``, in comparable form."""
    cell = row.get(column, "")
    if column == "identifier":  # Moodle calls a student "Participant 12345"
        cell = cell.rpartition(" ")[2]
    if column == "name" and not cell:
        first = row.get("first_name") or row.get("first name") or ""
        cell = f"{first} {row.get('last_name') or row.get('last name') or ''}"
    found = {cell, cell.partition("@")[0]} if column in _ADDRESSES else {cell}
    return {comparable(text) for text in found if text.strip()}


def _forms(name: str, column: str) -> Iterator[str]:
    """Yield what ``column`` may say for ``name``: a repository's name ends in the user name."""
    parts = name.split("-") if column in _USER_NAMES else [name]
    yield from (comparable("-".join(parts[n:])) for n in range(len(parts)))


def publish(
    to: Path,
    source: Source,
    submissions: Sequence[Submission],
    results: Mapping[str, Result],
    roster: Roster | None = None,
) -> list[str]:
    """Write all files into the folder ``to``; return sentences about what matches nothing.

    The gradebook is read again first: points may have been entered in the meantime. Raises
    ``GradingError`` if it is invalid; nothing is written then.
    """
    book = gradebook.read(to / "grades.csv", source)
    entered = book.entered(results)
    matched = roster.matched(submissions) if roster else {}
    late = {matched[number].student: note for number, note in _late(roster) if number in matched}
    notes = {
        submission.student: [*submission.notes, *late.get(submission.student, ())]
        for submission in submissions
    }
    gradebook.write(to / "grades.csv", source, results, book, notes)
    pages = {
        student: feedback.page(source, student, result, entered[student], notes.get(student, ()))
        for student, result in results.items()
    }
    for student, page in pages.items():
        _write(to / "feedback" / f"{file_name(student)}.html", page)
    for column in gradebook.hand_columns(source):
        page = feedback.question_page(source, column, results, entered)
        _write(to / "questions" / f"{file_name(column)}.html", page)
    named = {s.feedback: pages[s.student] for s in submissions if s.feedback}
    if named:
        replace_file(to / "feedback.zip", _zipped(named))
    said = []
    if kept := book.unmatched(results):
        said.append(f"Rows of grades.csv that match no submission were kept: {', '.join(kept)}.")
    if roster:
        totals = {
            student: gradebook.total(source, result, entered[student])
            for student, result in results.items()
        }
        said += _missing(roster, submissions, matched)
        said += _write_grades(to, roster, matched, totals)
    return said


def _late(roster: Roster | None) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of students whose work Moodle's worksheet calls late, with a sentence."""
    for number, row in (roster.students() if roster else {}).items():
        if re.search(r"\b(late|overdue)\b", said := row.get("status", "")):
            yield number, [f"Moodle says: {' '.join(said.split())}."]


def _missing(
    roster: Roster, submissions: Sequence[Submission], matched: Mapping[int, Submission]
) -> Iterator[str]:
    used = {submission.student for submission in matched.values()}
    if unknown := [s.student for s in submissions if s.student not in used]:
        yield f"In no row of the roster: {', '.join(unknown)}."
    rows = [row for number, row in roster.students().items() if number not in matched]
    columns = (*_NAMES, *_IDS)
    names = [next(row[column] for column in columns if row.get(column)) for row in rows]
    if names:
        yield f"In the roster, but without a submission: {', '.join(names)}."


def _write(place: Path, text: str) -> None:
    replace_file(place, text.encode("utf-8", "replace"))


def _zipped(pages: Mapping[str, str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, page in sorted(pages.items()):
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode(), _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, page.encode("utf-8", "replace"))
    return data.getvalue()


def _write_grades(
    to: Path,
    roster: Roster,
    matched: Mapping[int, Submission],
    totals: Mapping[str, float | None],
) -> Iterator[str]:
    """Write the grade file of the platform that the roster is from, if it is from one.

    Points that are incomplete leave the grade as it was. Yields a sentence about them.
    """
    column = "Grade" if roster.is_moodle else roster.assignment
    if not column:
        return
    rows = {number: dict(row) for number, row in roster.table.rows.items()}
    incomplete = []
    for number, submission in matched.items():
        total = totals.get(submission.student)
        if total is None:
            incomplete.append(submission.student)
        else:
            rows[number][column] = gradebook.number(total)
    columns = list(roster.table.columns)
    if roster.is_canvas:
        columns = [*columns[: columns.index("Section") + 1], column]
    name = "moodle-grades.csv" if roster.is_moodle else "canvas-grades.csv"
    _write(to / name, to_csv(columns, rows.values()))
    if incomplete:
        yield f"Points are incomplete, so {name} has no new grade: {', '.join(incomplete)}."
