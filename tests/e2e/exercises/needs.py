"""Find the statements of a lesson that must run before its exercises.

A statement is needed if it binds a name that an exercise or another needed statement uses. This is
derived from the code without running it. Other effects, such as creating a table or setting a key,
cannot be found that way: the lesson's file in ``answers`` names the cells that have them, and they
run whole.
"""

from __future__ import annotations

import ast
import builtins
import dis
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType

from tests.e2e.exercises.bank import WrongAnswer
from tests.lessons.exercises import Exercise
from tests.lessons.notebook_rules import Notebook, source_of

# What IPython defines in addition.
_ALWAYS_THERE = {*dir(builtins), "__name__", "display", "get_ipython"}
# After one of these, a name may still be bound by an earlier statement.
_MAY_NOT_BIND = ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.Match


@dataclass(frozen=True)
class Needed:
    """``sources``: the code to run, by cell index; ``unbound``: names that nothing before binds."""

    sources: Mapping[int, str]
    unbound: frozenset[str]


@dataclass(frozen=True)
class Names:
    """The names that code binds, uses when it runs, and uses later in its functions."""

    bound: frozenset[str]
    used: frozenset[str]
    used_later: frozenset[str]


@dataclass(frozen=True)
class _Statement:
    at: int  # the index of its cell in the notebook
    source: str
    names: Names
    certain: bool  # whether it binds its names whenever it runs


def find_needed(
    notebook: Notebook,
    exercises: Iterable[Exercise],
    answers: Iterable[WrongAnswer],
    cells: Iterable[str],
) -> Needed:
    """Return the code to run: the exercises, the last cell, ``cells``, and all that these use.

    ``answers`` are tried after the check of their exercise and may use more of the lesson.
    ``cells`` are the ids of cells that run whole. The last cell closes what the lesson opened.
    """
    code = {at: cell for at, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"}
    named = set(cells)
    check_at = {exercise.name: exercise.check_at for exercise in exercises}
    whole = {at for at, cell in code.items() if cell["id"] in named} | {max(code)}
    whole |= {at for ex in exercises for at in (ex.stub_at, ex.check_at, ex.solution_at)}
    search = _Search(
        [_Statement(at, *part) for at, cell in code.items() for part in _split(source_of(cell))]
    )
    search.take_cells(whole)
    for answer in answers:
        search.take_names(names_of(answer.source), before_cell=check_at[answer.exercise] + 1)
    sources = {
        at: source_of(code[at]) if at in whole else "\n".join(search.taken_of(at))
        for at in code
        if at in whole or search.taken_of(at)
    }
    return Needed(sources, frozenset(search.unbound))


def names_of(source: str) -> Names:
    """Return the names outside of functions that ``source`` binds and uses.

    They are read from the compiled code. Raises ``SyntaxError``.
    """
    return _names_of_tree(ast.parse(source))


class _Search:
    """Searches backwards for the statements that bind the names that others use."""

    def __init__(self, statements: Sequence[_Statement]) -> None:
        self.unbound: set[str] = set()
        self._statements = statements
        self._taken: set[int] = set()

    def take_cells(self, places: set[int]) -> None:
        """Take all statements of these cells, and what they use."""
        for number, statement in enumerate(self._statements):
            if statement.at in places:
                self._take(number)

    def take_names(self, names: Names, *, before_cell: int) -> None:
        """Take the statements before the cell at this index that bind the names which code uses."""
        before = sum(statement.at < before_cell for statement in self._statements)
        for name in (names.used | names.used_later) - names.bound:
            self._take_name(name, before)

    def taken_of(self, at: int) -> list[str]:
        """Return the statements of a cell that were taken, in order."""
        return [
            statement.source
            for number, statement in enumerate(self._statements)
            if statement.at == at and number in self._taken
        ]

    def _take(self, number: int) -> None:
        if number in self._taken:
            return
        self._taken.add(number)
        names = self._statements[number].names
        for name in names.used:
            self._take_name(name, number)
        for name in names.used_later - names.bound:
            self._take_name(name, number, or_after=True)

    def _take_name(self, name: str, before: int, *, or_after: bool = False) -> None:
        found = [*self._binding(name, before)]
        if or_after and not found:
            # A function is called later, so its names may be bound after it.
            found = [*self._binding(name, len(self._statements))]
        if not found and name not in _ALWAYS_THERE:
            self.unbound.add(name)
        for number in found:
            self._take(number)

    def _binding(self, name: str, before: int) -> Iterator[int]:
        for number in reversed(range(before)):
            if name in self._statements[number].names.bound:
                yield number
                if self._statements[number].certain:
                    return


@functools.cache
def _split(source: str) -> list[tuple[str, Names, bool]]:
    """Return each statement of a cell, its names, and whether it always binds them."""
    return [
        (
            ast.unparse(node),
            _names_of_tree(ast.Module([node], type_ignores=[])),
            not isinstance(node, _MAY_NOT_BIND),
        )
        for node in ast.parse(source).body
    ]


def _names_of_tree(tree: ast.Module) -> Names:
    code = compile(tree, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    bound, used = _names_of_code(code)
    later = {name for inner in _inner(code) for name in _names_of_code(inner)[1]}
    bound |= {name for inner in _inner(code) for name in _stored_globals(inner)}
    return Names(frozenset(bound), frozenset(used), frozenset(later))


def _names_of_code(code: CodeType) -> tuple[set[str], set[str]]:
    """Return the global names that ``code`` itself binds, and those it uses before binding them."""
    bound: set[str] = set()
    used: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            bound.add(instruction.argval)
        elif instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            used |= {instruction.argval} - bound
    return bound, used


def _stored_globals(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_GLOBAL":
            yield instruction.argval


def _inner(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of the functions, classes and comprehensions in ``code``, recursively."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inner(constant)
