"""``grades.csv``: a row for each student, a column for each task, and a sentence on how it went."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from pathlib import Path

from helpers.grading.one import Result, points
from helpers.grading.running import NOT_RUN
from helpers.grading.source import Source

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_SENTENCES = 5
_LONGEST = 200


def columns(source: Source) -> list[str]:
    """Return the names of the columns: a task's points, then its answer in words, left empty."""
    tasks = []
    for task in source.tasks():
        tasks += [task] if source.tests(task) else []
        tasks += [by_hand(task)] if source.manual(task) else []
    return ["student", *tasks, "automatic", "status"]


def by_hand(task: str) -> str:
    """Return the name of the column for what of ``task`` is graded by hand."""
    return f"{task} by hand"


def row(source: Source, student: str, result: Result) -> dict[str, str]:
    """Return a student's row. What is graded by hand is not in it."""
    graded = {task: points(source, result, task) for task in source.tasks() if source.tests(task)}
    return {
        "student": harmless(student),
        **{task: f"{found:g}" for task, found in graded.items()},
        "automatic": f"{sum(graded.values()):g}",
        "status": status(result),
    }


def status(result: Result) -> str:
    """Return what went wrong, in a sentence or a few; or that nothing did."""
    if result.refusal:
        return result.refusal
    sentences = [f"{result.tampered[0].upper()}{result.tampered[1:]}."] if result.tampered else []
    sentences += result.events
    # A cell that was stopped is an event already.
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
    """Return how many tests passed, and the first that was run and did not."""
    missed = {name: one.why for name, one in result.verdicts.items() if not one.passed}
    ran = {name: why for name, why in missed.items() if not why.startswith(NOT_RUN)}
    count, passed = len(result.verdicts), len(result.verdicts) - len(missed)
    if ran and not result.tampered:
        name, why = next(iter(ran.items()))
        return [f"{passed} of {count} tests passed; {name}: {why[:_LONGEST]}."]
    return [f"It ran to its end; {passed} of {count} tests passed."] if alone else []


def write(place: Path, source: Source, results: Mapping[str, Result]) -> None:
    """Write the rows of all students to ``place``; what was entered by hand before stays."""
    names = columns(source)
    kept = _entered(place, [name for name in names if name.endswith(" by hand")])
    new = place.with_suffix(".new")
    with new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        for student, result in results.items():
            found = row(source, student, result)
            writer.writerow(found | kept.get(found["student"], {}))
    new.replace(place)


def harmless(text: str) -> str:
    """Return ``text`` so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _entered(place: Path, names: list[str]) -> dict[str, dict[str, str]]:
    """Return what stands in the columns ``names`` of the gradebook at ``place``, by student."""
    with (
        contextlib.suppress(FileNotFoundError),
        place.open(encoding="utf-8-sig", newline="") as file,
    ):
        return {
            one["student"]: {name: one[name] for name in names if one.get(name)}
            for one in csv.DictReader(file)
            if one.get("student")
        }
    return {}
