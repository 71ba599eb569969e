"""Run the project's cells with given answers in place of its solutions, and count the points.

A ``Runner`` runs the cells before the first task once, and then forks a process for each answer,
with databases of its own. It is for trying the checks, not for grading: an answer may do whatever
it likes to its process.
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
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Self

from course.grading.source import SourceCell, read_source
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
    """A process that has run what comes before the first task, and forks for each answer.

    ``environ`` is added to its environment; it says which databases to use. Use it in a ``with``
    statement.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.project.running"],
            env={**os.environ, **environ},
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def grade(
        self,
        answers: Mapping[str, str],
        *,
        tasks: str = TASKS,
        seed: int | None = None,
        until_lost: bool = False,
    ) -> Graded:
        """Run the notebook with ``answers`` (source by task) in place of its solutions.

        Only ``tasks`` are run, and only they can earn points. ``seed`` is taken in place of the
        notebook's own. ``until_lost`` stops at the first check that fails: what comes after it
        earns no points either.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"answers": dict(answers), "tasks": tasks, "seed": seed, "until_lost": until_lost}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line.strip(), "the answer ended its process, or took too long"
        found = json.loads(line)
        errors: dict[str, str] = found["errors"]
        points = dict.fromkeys(TASKS, 0.0)
        for test in read_source(NOTEBOOK).tests():
            if test.key in found["run"] and test.key not in errors:
                points[test.task] += test.points
        return Graded(points, errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@dataclass(frozen=True)
class Run:
    """Cells that were run in ``namespace``: their keys, and the errors of those that failed."""

    namespace: dict[str, Any]
    run: list[str]
    errors: dict[str, str]

    def execute(self, cell: SourceCell) -> bool:
        """Run one cell, and return whether it raised no error."""
        self.run.append(cell.key)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(cell.text, cell.key, "exec"), self.namespace)
        except Exception:  # noqa: BLE001 - an answer may raise any error
            self.errors[cell.key] = traceback.format_exc()
        return cell.key not in self.errors


def prepare(seed: int | None) -> Run:
    """Run the cells before the first task, and close the connections that they have opened.

    The checks open their own connections, and a forked process must not use its parent's.
    """
    begun = Run({"__name__": "__main__"}, [], {})
    for cell in takewhile(lambda one: one.task not in TASKS, cells()):
        if not cell.code:
            continue
        if cell.key == "setup" and seed is not None:
            text, count = re.subn(r"^SEED = \d+$", f"SEED = {seed}", cell.text, flags=re.MULTILINE)
            assert count == 1, text
            cell = replace(cell, text=text)
        begun.execute(cell)
    with contextlib.suppress(KeyError):
        begun.namespace["shop"].close()
    return begun


def run(begun: Run, answers: Mapping[str, str], tasks: str, until_lost: bool) -> Run:
    """Run the cells of ``tasks`` after those that are ``begun``, in the same namespace."""
    for cell in cells():
        if not cell.code or cell.task not in tasks or cell.key in begun.run:
            continue
        if cell.kind == "answer":
            cell = replace(cell, text=answers.get(cell.task, cell.text))
        if not begun.execute(cell) and cell.kind == "test" and until_lost:
            break
    return begun


def serve() -> None:
    """Answer each line of standard input by a line, from a process that is forked for it."""
    for name in ("pandas", "course.marketplace"):
        importlib.import_module(name)
    prepared: dict[int | None, Run] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        seed = asked.pop("seed")
        if seed not in prepared:
            prepared[seed] = prepare(seed)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(_GUARD_SECONDS)
            os.close(reader)
            done = run(prepared[seed], **asked)
            with os.fdopen(writer, "w") as pipe:
                pipe.write(json.dumps({"run": done.run, "errors": done.errors}))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
