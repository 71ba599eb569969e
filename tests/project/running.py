"""Run the project's cells with given answers in place of its solutions, and count the points.

A ``Runner`` does so in a process for each, with databases of its own. It is for trying the checks,
not for grading anybody: whatever an answer does to that process, it does.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from helpers.grading.source import SourceCell, read_source
from helpers.settings import PROJECT

NOTEBOOK = PROJECT / "project" / "07_project.ipynb"
TASKS = "abcdef"

_GUARD_SECONDS = 300


def cells() -> tuple[SourceCell, ...]:
    """Return the cells of the notebook, in their order."""
    return read_source(NOTEBOOK).cells


def answer_of(task: str) -> SourceCell:
    """Return the cell that the answer to a task goes into."""
    (found,) = (cell for cell in cells() if cell.kind == "answer" and cell.task == task)
    return found


def solution(task: str) -> str:
    """Return the notebook's own answer to a task."""
    return answer_of(task).text


def untouched(task: str) -> str:
    """Return what a student finds in place of an answer."""
    return answer_of(task).released()


def full_points() -> dict[str, float]:
    """Return the points that checks give for each task."""
    source = read_source(NOTEBOOK)
    return {task: sum(test.points for test in source.tests(task)) for task in TASKS}


@dataclass(frozen=True)
class Graded:
    """What an answer earned: the points of each task, and the error of each cell that failed."""

    points: dict[str, float]
    errors: dict[str, str]


class Runner:
    """A process that has imported what answers need, and forks for each of them.

    ``environ`` is added to its environment; it says which databases to use. Use it in a ``with``
    statement.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.project.running"],
            env={**os.environ, **environ},
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def grade(
        self, answers: Mapping[str, str], *, tasks: str = TASKS, seed: int | None = None
    ) -> Graded:
        """Run the notebook with ``answers`` (source by task) in place of its solutions.

        Only ``tasks`` are run, and only they can earn points. ``seed`` is taken in place of the
        notebook's own.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"answers": dict(answers), "tasks": tasks, "seed": seed}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line.strip(), "the answer ended its process, or took too long"
        errors: dict[str, str] = json.loads(line)
        points = dict.fromkeys(TASKS, 0.0)
        for test in read_source(NOTEBOOK).tests():
            if test.task in tasks and test.key not in errors:
                points[test.task] += test.points
        return Graded(points, errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def run(answers: Mapping[str, str], tasks: str, seed: int | None) -> dict[str, str]:
    """Run the cells of ``tasks``, and those before any task, in one namespace.

    Returns the errors by grade id.
    """
    errors: dict[str, str] = {}
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells():
        if not cell.code or cell.task in set(TASKS) - set(tasks):
            continue
        source = answers.get(cell.task, cell.text) if cell.kind == "answer" else cell.text
        if cell.key == "setup" and seed is not None:
            source, count = re.subn(r"^SEED = \d+$", f"SEED = {seed}", source, flags=re.MULTILINE)
            assert count == 1, source
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, cell.key, "exec"), namespace)
        except Exception:  # noqa: BLE001 - whatever an answer raises
            errors[cell.key] = traceback.format_exc()
    return errors


def serve() -> None:
    """Answer each line of standard input by a line: in a process of its own, forked for it."""
    for name in ("pandas", "helpers.project"):
        importlib.import_module(name)
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(_GUARD_SECONDS)
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                pipe.write(json.dumps(run(**json.loads(line))))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
