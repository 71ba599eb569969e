"""Report a student's progress: ``python -m course.grading.check NOTEBOOK`` (``make check``).

Runs the notebook from top to bottom, as grading does but on the student's own servers, then prints
for each task the outcome of its visible tests. A student's notebook contains no hidden tests.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from course.grading.processes import launch_here, uses_stores
from course.grading.running import Outcome, run
from course.grading.source import (
    TEXT_STUB,
    Notebook,
    Source,
    SourceCell,
    key_of,
    parse_notebook,
    parse_source,
)
from course.grading.student import Limits, Student
from course.grading.submissions import restore, text_of_file
from course.marketplace.project_databases import NAME
from helpers.errors import CourseError, GradingError
from helpers.settings import as_path, load_settings
from helpers.shop import locate

_MISTAKE = 2


def check(place: Path, limits: Limits) -> tuple[Source, Outcome]:
    """Run the notebook at ``place``; return its source cells and the outcome.

    Raises ``GradingError`` if it is not a notebook of the project.
    """
    notebook = _without_copies(parse_notebook(text_of_file(place)))
    source = parse_source(notebook)
    if not source.tasks():
        raise GradingError(f"{place} is not a notebook of the project: it has no tests.")
    addresses = locate(load_settings()) if uses_stores(source) else None
    with Student(launch_here(place.resolve().parent), limits, addresses) as student:
        outcome = run(restore(source, notebook).steps, student, limits)
    return source, outcome


def progress_lines(source: Source, outcome: Outcome) -> Iterator[str]:
    """Yield the lines that report how far each task is."""
    for failed, why in outcome.failures.items():
        yield f"{failed} {why}."
    if outcome.failures:
        yield ""
    done = 0
    for task in source.tasks():
        seen = [test for test in source.tests(task) if not is_hidden(test)]
        missed = [test for test in seen if not outcome.verdicts[test.key].passed]
        done += not missed
        title = source.title(task)
        name = f"Task {task.upper()}{' · ' if title else ''}{title}"
        yield f"{name}: {'not yet' if missed else 'what can be seen of it is done'}"
        yield from (f"    {test.key}: {outcome.verdicts[test.key].why}" for test in missed)
        yield from (
            f"    {cell.key}: there is no answer in words yet"
            for cell in source.manual(task)
            if not is_answered(cell)
        )
    yield ""
    yield f"{done} of {len(source.tasks())} tasks. Hidden tests are run when it is graded."


def is_hidden(test: SourceCell) -> bool:
    """Return whether a test is empty in the students' version."""
    try:
        return not ast.parse(test.text).body
    except SyntaxError:
        return False


def is_answered(cell: SourceCell) -> bool:
    """Return whether the student wrote something in a cell for an answer in words."""
    return bool(cell.text.strip()) and cell.text.strip() not in TEXT_STUB


def _without_copies(notebook: Notebook) -> Notebook:
    """Return the notebook with the names of copied cells removed, so that names are unique."""
    seen: set[str | None] = set()
    for cell in notebook["cells"]:
        if (key := key_of(cell)) in seen:
            cell["metadata"] = {}
            cell.pop("id", None)
        seen.add(key)
    return notebook


def main() -> int:
    """Check a notebook and print the report."""
    parser = argparse.ArgumentParser(prog="python -m course.grading.check", description=__doc__)
    parser.add_argument("notebook", type=as_path)
    options = parser.parse_args()
    # The notebook may be open in a kernel, which has the project's databases to itself.
    os.environ.setdefault(NAME, "lesson_07_check")
    try:
        source, outcome = check(options.notebook, Limits())
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        return 130
    print("\n".join(progress_lines(source, outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
