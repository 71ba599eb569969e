"""A lesson is run once, from top to bottom, and each of its exercises is answered by the way.

The stub is checked where it stands. After it each wrong answer takes its place and is tried as the
lesson's own cell tries the stub; then comes the solution, and the lesson goes on
with the databases as all of them have left them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from helpers.authoring.exercises import Verdict, find_exercises, read_verdict
from tests.exercises.bank import WrongAnswer

_SECONDS_PER_CELL = 300  # a guard against what hangs
_MAY_FAIL = "raises-exception"

# The lesson's own databases may be in use, by a run of the notebook at the same time.
_ELSEWHERE = """
import helpers
from helpers.settings import load_settings
from helpers.stores.opening import open_databases

helpers.open_lesson = lambda lesson: open_databases({name!r}, {redis_number}, load_settings())
"""


@dataclass(frozen=True)
class Answered:
    """What was said of stubs and solutions, by exercise, and of wrong answers, by title."""

    stubs: Mapping[str, Verdict] = field(repr=False)
    wrong: Mapping[str, Verdict] = field(repr=False)
    solutions: Mapping[str, Verdict] = field(repr=False)


def answer_all(
    path: Path, answers: Iterable[WrongAnswer], *, database: str, redis_number: int
) -> Answered:
    """Run the notebook at ``path`` in databases called ``database``, and check all answers.

    Raises ``nbclient.exceptions.CellExecutionError`` where a cell fails that is no answer.
    """
    notebook = nbformat.read(path, as_version=4)
    exercises = find_exercises(notebook)
    of_exercise: dict[str, list[WrongAnswer]] = {one.name: [] for one in exercises}
    for answer in answers:
        of_exercise[answer.exercise].append(answer)

    own = list(notebook.cells)
    tried = {}
    setup = _ELSEWHERE.format(name=database, redis_number=redis_number)
    notebook.cells = [new_code_cell(setup)]
    checks = {one.check_at: one for one in exercises}
    for at, cell in enumerate(own):
        notebook.cells.append(cell)
        if at in checks:
            for answer in of_exercise[checks[at].name]:
                tried[answer.title] = new_code_cell(f"{answer.source}\n\n\n{checks[at].trial}")
                notebook.cells.append(tried[answer.title])
    judged = [own[at] for one in exercises for at in (one.check_at, one.solution_at)]
    for cell in (*judged, *tried.values()):
        cell.metadata.tags = [_MAY_FAIL]

    NotebookClient(
        notebook,
        timeout=_SECONDS_PER_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
    ).execute()
    return Answered(
        stubs={one.name: read_verdict(own[one.check_at].outputs) for one in exercises},
        wrong={title: read_verdict(cell.outputs) for title, cell in tried.items()},
        solutions={one.name: read_verdict(own[one.solution_at].outputs) for one in exercises},
    )
