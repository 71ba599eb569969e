"""Run the project's cells with given answers in place of its solutions, and count the points.

``grade`` does so in a process of its own, with databases of its own. It is for trying the checks,
not for grading anybody: whatever an answer does to that process, it does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.settings import PROJECT

NOTEBOOK = PROJECT / "project" / "07_project.ipynb"
TASKS = "abcdef"

_GUARD_SECONDS = 300
_MARK = "graded:"
_REGION = re.compile(
    r"^( *)### BEGIN SOLUTION$.*?^ *### END SOLUTION(?:\n|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Cell:
    """One cell that nbgrader knows: its grade id, its task, its points, and whether it answers."""

    grade_id: str
    kind: str
    points: int
    is_answer: bool
    source: str

    @property
    def task(self) -> str:
        return self.grade_id.partition("-")[0]

    @property
    def is_check(self) -> bool:
        return self.points > 0 and self.kind == "code"


def cells() -> list[Cell]:
    """Return the cells of the notebook that nbgrader knows, in their order."""
    found = []
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        known = cell["metadata"].get("nbgrader")
        if known is not None:
            source = cell["source"]
            found.append(
                Cell(
                    known["grade_id"],
                    cell["cell_type"],
                    known.get("points", 0),
                    known["solution"],
                    source if isinstance(source, str) else "".join(source),
                )
            )
    return found


def solution(task: str) -> str:
    """Return the notebook's own answer to a task."""
    (source,) = (
        cell.source
        for cell in cells()
        if cell.is_answer and cell.kind == "code" and cell.task == task
    )
    return source


def untouched(task: str) -> str:
    """Return what a student finds in place of an answer, as nbgrader makes it."""
    return _REGION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()\n", solution(task))


def full_points() -> dict[str, int]:
    """Return the points that checks give for each task."""
    return {
        task: sum(cell.points for cell in cells() if cell.is_check and cell.task == task)
        for task in TASKS
    }


@dataclass(frozen=True)
class Graded:
    """What an answer earned: the points of each task, and the error of each cell that failed."""

    points: dict[str, int]
    errors: dict[str, str]


def grade(
    answers: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    tasks: str = TASKS,
    seed: int | None = None,
) -> Graded:
    """Run the notebook with ``answers`` (source by task) in place of its solutions.

    ``environ`` is added to the environment; it says which databases to use. Only
    ``tasks`` are run, and only they can earn points. ``seed`` is taken in place of the notebook's
    own.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.project.running"],
        input=json.dumps({"answers": dict(answers), "tasks": tasks, "seed": seed}),
        env={**os.environ, **environ},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=_GUARD_SECONDS,
        check=False,
    )
    last = done.stdout.rpartition(_MARK)[2]
    assert done.returncode == 0, done.stderr
    errors: dict[str, str] = json.loads(last)
    points = dict.fromkeys(TASKS, 0)
    for cell in cells():
        if cell.is_check and cell.task in tasks and cell.grade_id not in errors:
            points[cell.task] += cell.points
    return Graded(points, errors)


def run(answers: Mapping[str, str], tasks: str, seed: int | None) -> dict[str, str]:
    """Run the cells of ``tasks``, and those before any task, in one namespace.

    Returns the errors by grade id.
    """
    errors: dict[str, str] = {}
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells():
        if cell.kind != "code" or cell.task in set(TASKS) - set(tasks):
            continue
        source = answers.get(cell.task, cell.source) if cell.is_answer else cell.source
        if cell.grade_id == "setup" and seed is not None:
            source, count = re.subn(r"^SEED = \d+$", f"SEED = {seed}", source, flags=re.MULTILINE)
            assert count == 1, source
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, cell.grade_id, "exec"), namespace)
        except Exception:  # noqa: BLE001 - whatever an answer raises
            errors[cell.grade_id] = traceback.format_exc()
    return errors


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    print(_MARK + json.dumps(run(**json.load(sys.stdin))))
