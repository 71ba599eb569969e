"""Write ``grades.csv``: a row per student, a column per task, and a status in words."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from course.grading.results import NOT_RUN, Result, points
from course.grading.source import Source
from helpers.errors import GradingError

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_SENTENCES = 5
_LONGEST = 200
_NOT_OURS = (
    "{place} is not a gradebook ({why}), and overwriting it could lose points that were entered by "
    "hand: move it, or give another folder as TO."
)


def columns(source: Source) -> list[str]:
    """Return the column names: the points of each task, followed by its points given by hand."""
    tasks = []
    for task in source.tasks():
        tasks += [task] if source.tests(task) else []
        tasks += [by_hand(task)] if source.manual(task) else []
    return ["student", *tasks, "automatic", "total", "status"]


def by_hand(task: str) -> str:
    """Return the name of the column for the points of ``task`` that are given by hand."""
    return f"{task} by hand"


def row(
    source: Source, student: str, result: Result, entered: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return a student's row; ``entered`` holds the points given by hand, by task.

    The total is empty until all points that are given by hand have been entered.
    """
    graded = {task: points(source, result, task) for task in source.tasks() if source.tests(task)}
    given = [number(entered.get(task, "")) for task in source.tasks() if source.manual(task)]
    total = sum(graded.values()) + sum(part for part in given if part is not None)
    return {
        "student": harmless(student),
        **{task: f"{reached:g}" for task, reached in graded.items()},
        **{by_hand(task): text for task, text in entered.items()},
        "automatic": f"{sum(graded.values()):g}",
        "total": "" if None in given else f"{total:g}",
        "status": status(result),
    }


def number(text: str) -> float | None:
    """Return ``text`` as a number, also with a decimal comma; ``None`` if it is not one."""
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


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
    entered: Mapping[str, Mapping[str, str]],
) -> None:
    """Write the rows of all students to ``place``, with the points ``entered`` by hand."""
    new = place.with_suffix(".new")
    with new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(source), restval="", lineterminator="\n")
        writer.writeheader()
        for student, result in results.items():
            writer.writerow(row(source, student, result, entered.get(student, {})))
    new.replace(place)


def entered(place: Path, source: Source) -> dict[str, dict[str, str]]:
    """Return the points entered by hand in the gradebook at ``place``, by student and task.

    The columns may be separated by commas, semicolons or tabs, as spreadsheets write them.

    Raises ``GradingError`` if the file is not a gradebook, so that it is not overwritten.
    """
    try:
        text = place.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise GradingError(_NOT_OURS.format(place=place, why=error)) from None
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    missing = {"student", "automatic"} - set(rows.fieldnames or ())
    if missing:
        why = f"it has no column {' and no column '.join(sorted(missing))}"
        raise GradingError(_NOT_OURS.format(place=place, why=why))
    tasks = [task for task in source.tasks() if source.manual(task)]
    return {
        # ``harmless`` may have added the quote.
        row["student"].removeprefix("'"): {
            task: found for task in tasks if (found := (row.get(by_hand(task)) or "").strip())
        }
        for row in rows
        if row["student"]
    }


def harmless(text: str) -> str:
    """Return ``text`` so that a spreadsheet does not run it as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
