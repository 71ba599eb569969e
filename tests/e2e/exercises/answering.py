"""A lesson's exercises are answered, in a kernel that has run what they need of the lesson.

The stub is checked where it stands. After it each wrong answer takes its place and is tried as the
lesson's own cell tries the stub; then comes the solution, with the databases as all of them have
left them. At the end, the lesson's last cell closes what was opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from course.authoring.exercises import Verdict, find_exercises, read_verdict
from tests.e2e.exercises.bank import WrongAnswer
from tests.e2e.exercises.needs import find_needed

_SECONDS_PER_CELL = 300  # a guard against what hangs
_MAY_FAIL = "raises-exception"

# The lesson's own databases may be in use, by a run of the notebook at the same time.
_ELSEWHERE = """
import helpers
from helpers.settings import load_settings
from helpers.shop.opening import open_databases

helpers.open_lesson = lambda lesson: open_databases({name!r}, {redis_number}, load_settings())
"""


@dataclass(frozen=True)
class Answered:
    """What was said of stubs and solutions, by exercise, and of wrong answers, by title.

    ``ran`` are the ids of the lesson's cells that have run, whole or in part, in their order.
    """

    stubs: Mapping[str, Verdict] = field(repr=False)
    wrong: Mapping[str, Verdict] = field(repr=False)
    solutions: Mapping[str, Verdict] = field(repr=False)
    ran: Sequence[str]


def answer_all(
    path: Path,
    answers: Sequence[WrongAnswer],
    cells: Iterable[str],
    *,
    database: str,
    redis_number: int,
) -> Answered:
    """Check all answers to the notebook at ``path``, in databases called ``database``.

    Of the lesson's other cells, ``cells`` run, and what these and the exercises use.

    Raises ``AssertionError`` if a cell fails that is no answer.
    """
    notebook = nbformat.read(path, as_version=4)
    exercises = find_exercises(notebook)
    needed = find_needed(notebook, exercises, answers, cells)
    setup = new_code_cell(_ELSEWHERE.format(name=database, redis_number=redis_number), id="setup")
    lesson = {
        at: new_code_cell(source, id=notebook.cells[at].id)
        for at, source in sorted(needed.sources.items())
    }
    tried = {one.title: new_code_cell() for one in answers}

    notebook.cells = [setup]
    checks = {one.check_at: one for one in exercises}
    for at, cell in lesson.items():
        notebook.cells.append(cell)
        for answer in answers:
            if at in checks and answer.exercise == checks[at].name:
                tried[answer.title].source = f"{answer.source}\n\n\n{checks[at].trial}"
                notebook.cells.append(tried[answer.title])
    for cell in notebook.cells:
        # Also those that may not fail: the last cell closes what was opened, whatever happens.
        cell.metadata.tags = [_MAY_FAIL]
    NotebookClient(
        notebook,
        timeout=_SECONDS_PER_CELL,
        kernel_name="python3",
        shutdown_kernel="immediate",  # all is closed; ending by itself, it takes seconds
        resources={"metadata": {"path": path.parent}},
    ).execute()

    judged = {at for one in exercises for at in (one.stub_at, one.check_at, one.solution_at)}
    for cell in (setup, *(cell for at, cell in lesson.items() if at not in judged)):
        verdict = read_verdict(cell.outputs)
        assert verdict.kind != "failed", (
            f"The cell {cell.id} fails: {verdict.text}. It may need what a cell does that did not "
            f"run. These did: {', '.join(one.id for one in lesson.values())}."
        )
    return Answered(
        stubs={one.name: read_verdict(lesson[one.check_at].outputs) for one in exercises},
        wrong={title: read_verdict(cell.outputs) for title, cell in tried.items()},
        solutions={one.name: read_verdict(lesson[one.solution_at].outputs) for one in exercises},
        ran=[cell.id for cell in lesson.values()],
    )
