"""Run the project's cells with given answers in place of its solutions, and count the points.

A ``Runner`` runs the cells before the first task once, and then forks a process for each answer. It
is for testing the project's tests, not for grading: nothing restricts an answer.
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

_TIMEOUT_SECONDS = 300


def cells() -> tuple[SourceCell, ...]:
    """Return the cells of the notebook, in order."""
    return read_source(NOTEBOOK).cells


def answer_of(task: str) -> SourceCell:
    """Return the answer cell of a task."""
    (found,) = (cell for cell in cells() if cell.kind == "answer" and cell.task == task)
    return found


def solution(task: str) -> str:
    """Return the notebook's own answer to a task."""
    return answer_of(task).text


def untouched(task: str) -> str:
    """Return the stub that a student gets in place of an answer."""
    return answer_of(task).released()


def full_points() -> dict[str, float]:
    """Return the points of the tests of each task."""
    source = read_source(NOTEBOOK)
    return {task: sum(test.points for test in source.tests(task)) for task in TASKS}


@dataclass(frozen=True)
class Graded:
    """The points of each task, and the error of each cell that failed."""

    points: dict[str, float]
    errors: dict[str, str]


class Runner:
    """A process that has run the cells before the first task, and forks for each answer.

    ``environ`` is added to its environment; it names the databases to use. Use it in a ``with``
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

        Only ``tasks`` are run and can get points. ``seed`` replaces the notebook's seed.
        ``until_lost`` stops at the first test that fails; later ones get no points either.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"answers": dict(answers), "tasks": tasks, "seed": seed, "until_lost": until_lost}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line.strip(), "the answer ended its process, or exceeded the time limit"
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
    """The keys of the cells that were run in ``namespace``, and the errors of those that failed."""

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
    """Run the cells before the first task, and close the connections that they opened.

    The tests open their own connections, and a forked process must not use its parent's.
    """
    begun = Run({"__name__": "__main__"}, [], {})
    for cell in takewhile(lambda cell: cell.task not in TASKS, cells()):
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
    """Run the cells of ``tasks`` after those already run, in the same namespace."""
    for cell in cells():
        if not cell.code or cell.task not in tasks or cell.key in begun.run:
            continue
        if cell.kind == "answer":
            cell = replace(cell, text=answers.get(cell.task, cell.text))
        if not begun.execute(cell) and cell.kind == "test" and until_lost:
            break
    return begun


def serve() -> None:
    """Respond to each line of standard input with a line, from a forked process."""
    for name in ("pandas", "course.marketplace"):
        importlib.import_module(name)
    prepared: dict[int | None, Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        seed = request.pop("seed")
        if seed not in prepared:
            prepared[seed] = prepare(seed)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(_TIMEOUT_SECONDS)
            os.close(reader)
            done = run(prepared[seed], **request)
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
