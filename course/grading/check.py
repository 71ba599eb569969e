"""Tell a student what is done: ``python -m course.grading.check NOTEBOOK`` (``make check``).

The notebook is run from its first cell to its last, as it is when it is graded, on the student's
own servers; then every task is told, with what its visible tests say. There are no hidden tests in
a student's notebook, so none are run.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from course.grading.collect import text_of_file
from course.grading.restore import restore
from course.grading.running import Limits, Outcome, kernel, run
from course.grading.source import (
    TEXT_STUB,
    Notebook,
    Source,
    SourceCell,
    key_of,
    parse_notebook,
    parse_source,
)
from helpers.errors import CourseError, GradingError
from helpers.settings import PROJECT

_MISTAKE = 2


def check(place: Path, limits: Limits) -> tuple[Source, Outcome]:
    """Run the notebook at ``place``; return what its cells are for, and what became of it.

    Raises ``GradingError`` when it is no notebook of the project.
    """
    notebook = _without_copies(parse_notebook(text_of_file(place)))
    source = parse_source(notebook)
    if not source.tasks():
        raise GradingError(f"{place} is no notebook of the project: it has no tests.")
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}

    def launch(command: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=place.resolve().parent,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    with (
        tempfile.TemporaryDirectory(prefix="course-") as folder,
        kernel(Path(folder), launch, sys.executable, limits, lambda: 0) as started,
    ):
        outcome = run(restore(source, notebook).steps, started)
    return source, outcome


def told(source: Source, outcome: Outcome) -> Iterator[str]:
    """Yield the lines that tell a student how far each task is."""
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
    """Tell whether nothing of a test is left in the students' version."""
    try:
        return not ast.parse(test.text).body
    except SyntaxError:
        return False


def is_answered(cell: SourceCell) -> bool:
    """Tell whether something was written where an answer in words goes."""
    return bool(cell.text.strip()) and cell.text.strip() not in TEXT_STUB


def _without_copies(notebook: Notebook) -> Notebook:
    """Return the notebook in which a copied cell does not carry the name of the first."""
    seen: set[str | None] = set()
    for cell in notebook["cells"]:
        if (key := key_of(cell)) in seen:
            cell["metadata"] = {}
            cell.pop("id", None)
        seen.add(key)
    return notebook


def main() -> int:
    """Check a notebook, and tell how far it is."""
    parser = argparse.ArgumentParser(prog="python -m course.grading.check", description=__doc__)
    parser.add_argument("notebook", type=Path)
    options = parser.parse_args()
    try:
        source, outcome = check(options.notebook, Limits())
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        return 130
    print("\n".join(told(source, outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
