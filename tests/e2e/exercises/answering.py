"""Answer a lesson's exercises in a kernel that has run the cells that they need.

The stub is checked first. Each wrong answer is then checked in its place, and at last the solution,
with the databases as the wrong answers left them. At the end the lesson's last cell closes what the
lesson opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from tests.e2e.exercises.bank import WrongAnswer
from tests.e2e.exercises.needs import find_needed
from tests.lessons.exercises import Verdict, find_exercises, read_verdict

_SECONDS_PER_CELL = 300  # in case a cell hangs
_MAY_FAIL = "raises-exception"

# The lesson's own databases may be in use by a run of the notebook.
_OTHER_DATABASES = """
import helpers
from helpers.settings import load_settings
from helpers.shop.opening import open_databases

helpers.open_lesson = lambda lesson: open_databases({name!r}, {redis_number}, load_settings())
"""


@dataclass(frozen=True)
class Answered:
    """The verdicts on stubs and solutions, by exercise, and on wrong answers, by title.

    ``ran`` are the ids of the lesson's cells that have run, at least in part, in order.
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

    Of the lesson's other cells, ``cells`` run, and the statements that these and the exercises use.

    Raises ``AssertionError`` if a cell other than an answer fails.
    """
    notebook = nbformat.read(path, as_version=4)
    exercises = find_exercises(notebook)
    needed = find_needed(notebook, exercises, answers, cells)
    setup = new_code_cell(
        _OTHER_DATABASES.format(name=database, redis_number=redis_number), id="setup"
    )
    lesson = {
        at: new_code_cell(source, id=notebook.cells[at].id)
        for at, source in sorted(needed.sources.items())
    }
    tried = {answer.title: new_code_cell() for answer in answers}

    notebook.cells = [setup]
    checks = {exercise.check_at: exercise for exercise in exercises}
    for at, cell in lesson.items():
        notebook.cells.append(cell)
        for answer in answers:
            if at in checks and answer.exercise == checks[at].name:
                tried[answer.title].source = f"{answer.source}\n\n\n{checks[at].trial}"
                notebook.cells.append(tried[answer.title])
    for cell in notebook.cells:
        # Every cell may fail, so that the last one, which closes connections, always runs.
        cell.metadata.tags = [_MAY_FAIL]
    NotebookClient(
        notebook,
        timeout=_SECONDS_PER_CELL,
        kernel_name="python3",
        shutdown_kernel="immediate",  # everything is closed; a normal shutdown takes seconds
        resources={"metadata": {"path": path.parent}},
    ).execute()

    judged = {at for ex in exercises for at in (ex.stub_at, ex.check_at, ex.solution_at)}
    for cell in (setup, *(cell for at, cell in lesson.items() if at not in judged)):
        verdict = read_verdict(cell.outputs)
        assert verdict.kind != "failed", (
            f"The cell {cell.id} fails: {verdict.text}. It may need a cell that did not run. These "
            f"did: {', '.join(other.id for other in lesson.values())}."
        )
    return Answered(
        stubs={ex.name: read_verdict(lesson[ex.check_at].outputs) for ex in exercises},
        wrong={title: read_verdict(cell.outputs) for title, cell in tried.items()},
        solutions={ex.name: read_verdict(lesson[ex.solution_at].outputs) for ex in exercises},
        ran=[cell.id for cell in lesson.values()],
    )
