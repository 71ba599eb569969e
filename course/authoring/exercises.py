"""The exercises of a notebook: where they are, and what their checks say of an answer.

Four cells make an exercise, one after another but for prose::

    prose      what is asked, in words
    stub       tagged ``exercise``: gives the answer's name to something that is no answer yet
    check      the code after it: defines ``check_…`` and tries it on what has that name
    solution   tagged ``solution``: gives the name to an answer, and calls the check

A check raises ``AssertionError`` with a sentence where an answer is wrong. Its cell prints what the
check returns, or ``not yet:`` and that sentence.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from course.authoring.notebook_rules import Cell, Notebook, source_of, tags_of
from helpers.errors import NotebookError

#: What a check's cell prints before the sentence that says what is wrong.
NOT_YET = "not yet: "

_SOLUTION_ID = "solution-"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WORD = re.compile(r"[^\W\d_]{2,}")
_FEWEST_WORDS = 3


@dataclass(frozen=True)
class Exercise:
    """One exercise: the sources of its cells, and where the code cells stand in the notebook.

    ``name`` is the solution's id without ``solution-``; ``answer`` is the name that an answer has
    in the code, ``check_name`` that of the function that checks it.
    """

    name: str
    asked: str
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
        """The end of the check's cell, which tries the answer: enough where the rest has run."""
        last = ast.parse(self.check).body[-1]
        return "\n".join(self.check.splitlines()[last.lineno - 1 :])


@dataclass(frozen=True)
class Verdict:
    """What became of an answer that was checked.

    ``kind`` is ``failed`` where anything but the check's own word ended it; ``text`` is what was
    printed, without ``not yet:``, or the exception.
    """

    kind: Literal["accepted", "refused", "failed"]
    text: str

    @property
    def says_why(self) -> bool:
        """Whether the text is in words, and not only a value or nothing."""
        return len(_WORD.findall(self.text)) >= _FEWEST_WORDS


def find_exercises(notebook: Notebook) -> list[Exercise]:
    """Return the exercises of ``notebook``, in their order.

    Raises ``NotebookError`` for an exercise that lacks its check or its solution, or whose cells do
    not fit together.
    """
    code = [(at, cell) for at, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    stubs = [number for number, (_, cell) in enumerate(code) if "exercise" in tags_of(cell)]
    found = [_read(notebook["cells"], code[number : number + 3]) for number in stubs]
    paired = {one.solution_at for one in found}
    for at, cell in code:
        if "solution" in tags_of(cell) and at not in paired:
            raise NotebookError(
                cell["id"], "is tagged solution, and no exercise is before it", "Tag its stub."
            )
    return found


def read_verdict(outputs: Iterable[Cell]) -> Verdict:
    """Return what the outputs of a check's cell, or of a solution's, say of the answer."""
    printed = ""
    for output in outputs:
        if output["output_type"] == "error":
            return Verdict("failed", _COLOUR.sub("", f"{output['ename']}: {output['evalue']}"))
        if output.get("name") == "stdout":
            printed += "".join(output["text"])
        elif output["output_type"] == "execute_result":
            printed += "".join(output["data"]["text/plain"])
    # What an answer prints itself stands before the check's word.
    before, refused, why = printed.rpartition(NOT_YET)
    if refused and (not before or before.endswith("\n")):
        return Verdict("refused", why.strip())
    return Verdict("accepted", printed.strip())


def bound_names(source: str) -> list[str]:
    """Return the names that ``source`` gives to functions and values at its top, in order.

    Raises ``SyntaxError``.
    """
    names = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign):
            names += [one.id for one in statement.targets if isinstance(one, ast.Name)]
    return names


def _read(cells: Sequence[Cell], three: Sequence[tuple[int, Cell]]) -> Exercise:
    stub_at, stub = three[0]
    name = stub["id"]
    if len(three) < 3 or "solution" not in tags_of(three[2][1]):
        raise NotebookError(
            name,
            "is tagged exercise, and the code after it is not a check and a solution",
            "Let a cell that checks it and one tagged solution follow.",
        )
    (check_at, check), (solution_at, solution) = three[1:]
    before = cells[stub_at - 1] if stub_at else stub
    answer = _last(bound_names(source_of(stub)), stub, "an answer")
    checks = [one for one in bound_names(source_of(check)) if one.startswith("check_")]
    check_name = _last(checks, check, "a function check_…")
    for cell in (check, solution):
        if not _calls(source_of(cell), check_name, answer):
            raise NotebookError(
                cell["id"],
                f"does not check the answer of {name}",
                f"Let it call {check_name}({answer}).",
            )
    if answer not in bound_names(source_of(solution)):
        raise NotebookError(solution["id"], f"does not define {answer}", "Let it answer there.")
    return Exercise(
        name=solution["id"].removeprefix(_SOLUTION_ID),
        asked=source_of(before) if before["cell_type"] == "markdown" else "",
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
    """Tell whether ``source`` calls ``function(argument)``."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == function
        and [one.id for one in node.args if isinstance(one, ast.Name)] == [argument]
        for node in ast.walk(ast.parse(source))
    )
