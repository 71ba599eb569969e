"""Find the exercises of a notebook, and read the verdicts of their checks.

An exercise consists of four cells, with only prose between them::

    prose      describes the task
    stub       tagged ``exercise``: defines the answer's name with a placeholder
    check      the next code cell: defines ``check_…`` and calls it with the answer
    solution   tagged ``solution``: defines the name with a solution, and calls the check

A check raises ``AssertionError`` with a sentence if an answer is wrong. Its cell prints what the
check returns, or ``not yet:`` and that sentence.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from helpers.errors import NotebookError
from tests.lessons.notebook_rules import Cell, Notebook, source_of, tags_of

#: What a check's cell prints before the sentence that explains what is wrong.
NOT_YET = "not yet: "

_SOLUTION_ID = "solution-"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MIN_WORDS = 3


@dataclass(frozen=True)
class Exercise:
    """One exercise: the sources of its cells, and the indexes of its code cells in the notebook.

    ``name`` is the solution's id without ``solution-``; ``answer`` is the name of the answer in the
    code, ``check_name`` that of the function that checks it.
    """

    name: str
    task: str
    stub: str
    check: str
    solution: str
    answer: str
    check_name: str
    stub_at: int
    check_at: int
    solution_at: int

    @property
    def trial(self) -> str:
        """The end of the check's cell, which calls the check; the rest needs to run only once."""
        last = ast.parse(self.check).body[-1]
        return "\n".join(self.check.splitlines()[last.lineno - 1 :])


@dataclass(frozen=True)
class Verdict:
    """The verdict on an answer.

    ``kind`` is ``failed`` if an error other than the check's assertion occurred; ``text`` is what
    was printed, without ``not yet:``, or the exception.
    """

    kind: Literal["accepted", "refused", "failed"]
    text: str

    @property
    def says_why(self) -> bool:
        """Whether the text is a sentence, not just a value or nothing."""
        return len(_WORD.findall(self.text)) >= _MIN_WORDS


def find_exercises(notebook: Notebook) -> list[Exercise]:
    """Return the exercises of ``notebook``, in order.

    Raises ``NotebookError`` if an exercise lacks its check or its solution, or if its cells do not
    match.
    """
    code = [(at, cell) for at, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    stubs = [number for number, (_, cell) in enumerate(code) if "exercise" in tags_of(cell)]
    found = [_read(notebook["cells"], code[number : number + 3]) for number in stubs]
    paired = {exercise.solution_at for exercise in found}
    for at, cell in code:
        if "solution" in tags_of(cell) and at not in paired:
            raise NotebookError(
                cell["id"], "is tagged solution, but no exercise precedes it", "Tag its stub."
            )
    return found


def read_verdict(outputs: Iterable[Cell]) -> Verdict:
    """Return the verdict in the outputs of a check's or a solution's cell."""
    printed = ""
    for output in outputs:
        if output["output_type"] == "error":
            return Verdict("failed", _COLOUR.sub("", f"{output['ename']}: {output['evalue']}"))
        if output.get("name") == "stdout":
            printed += "".join(output["text"])
        elif output["output_type"] == "execute_result":
            printed += "".join(output["data"]["text/plain"])
    # The answer's own output comes before the verdict.
    before, refused, why = printed.rpartition(NOT_YET)
    if refused and (not before or before.endswith("\n")):
        return Verdict("refused", why.strip())
    return Verdict("accepted", printed.strip())


def bound_names(source: str) -> list[str]:
    """Return the names that ``source`` assigns or defines at the top level, in order.

    Raises ``SyntaxError``.
    """
    names = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign):
            names += [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return names


def _read(cells: Sequence[Cell], three: Sequence[tuple[int, Cell]]) -> Exercise:
    stub_at, stub = three[0]
    name = stub["id"]
    if len(three) < 3 or "solution" not in tags_of(three[2][1]):
        raise NotebookError(
            name,
            "is tagged exercise, but the code after it is not a check and a solution",
            "Add a cell that checks it and one tagged solution after it.",
        )
    (check_at, check), (solution_at, solution) = three[1:]
    before = cells[stub_at - 1] if stub_at else stub
    answer = _last(bound_names(source_of(stub)), stub, "an answer")
    checks = [name for name in bound_names(source_of(check)) if name.startswith("check_")]
    check_name = _last(checks, check, "a function check_…")
    for cell in (check, solution):
        if not _calls(source_of(cell), check_name, answer):
            raise NotebookError(
                cell["id"],
                f"does not check the answer of {name}",
                f"Call {check_name}({answer}) in it.",
            )
    if answer not in bound_names(source_of(solution)):
        raise NotebookError(solution["id"], f"does not define {answer}", "Define it there.")
    return Exercise(
        name=solution["id"].removeprefix(_SOLUTION_ID),
        task=source_of(before) if before["cell_type"] == "markdown" else "",
        stub=source_of(stub),
        check=source_of(check),
        solution=source_of(solution),
        answer=answer,
        check_name=check_name,
        stub_at=stub_at,
        check_at=check_at,
        solution_at=solution_at,
    )


def _last(names: Sequence[str], cell: Cell, what: str) -> str:
    if not names:
        raise NotebookError(cell["id"], f"defines nothing that is {what}", "Define it there.")
    return names[-1]


def _calls(source: str, function: str, argument: str) -> bool:
    """Return whether ``source`` calls ``function(argument)``."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == function
        and [arg.id for arg in node.args if isinstance(arg, ast.Name)] == [argument]
        for node in ast.walk(ast.parse(source))
    )
