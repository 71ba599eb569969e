"""The answer bank: a file per lesson in ``answers`` with wrong answers to its exercises.

The files consist of cells that editors recognize::

    # counts needs: fill

    # %% counts: a count is not converted to a number
    def counts(client, ids):
        ...

Each answer begins with a line that names the exercise and the mistake, and runs in the lesson's
notebook in place of the stub. The file begins with the ids of cells whose effects an exercise
needs; statements that it needs by name are found automatically (see ``needs.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BANK = Path(__file__).parent / "answers"
_HEAD = re.compile(r"^# %%(.*)$", re.MULTILINE)
_NEEDS = re.compile(r"# (?P<exercise>[a-z][a-z0-9-]*) needs: (?P<cells>[^\s,]+(?:, [^\s,]+)*)")
_NAMED = re.compile(r" (?P<exercise>[a-z][a-z0-9-]*): (?P<mistake>\S.*)")


@dataclass(frozen=True)
class WrongAnswer:
    """An answer that a check must refuse: its exercise, its mistake, and its source."""

    exercise: str
    mistake: str
    source: str

    @property
    def title(self) -> str:
        """The name of the answer, unique within the lesson."""
        return f"{self.exercise}: {self.mistake}"


def lessons_with_answers() -> list[str]:
    """Return the lessons that have a file in the bank."""
    return sorted(path.stem for path in _BANK.glob("*.py"))


def wrong_answers(lesson: str) -> list[WrongAnswer]:
    """Return the wrong answers to a lesson's exercises, in order; none without a file."""
    path = _BANK / f"{lesson}.py"
    return read_bank(path.read_text("utf-8")) if path.exists() else []


def needed_cells(lesson: str) -> dict[str, list[str]]:
    """Return the cells whose effects the exercises of a lesson need, by exercise."""
    path = _BANK / f"{lesson}.py"
    return read_needs(path.read_text("utf-8")) if path.exists() else {}


def read_bank(text: str) -> list[WrongAnswer]:
    """Return the wrong answers in ``text``.

    Raises ``ValueError`` for a head that does not name an exercise and a mistake.
    """
    _, *parts = _HEAD.split(text)
    answers = []
    for head, source in zip(parts[::2], parts[1::2], strict=True):
        named = _NAMED.fullmatch(head)
        if named is None:
            raise ValueError(f"The head '# %%{head}' is not of the form '# %% exercise: mistake'.")
        answers.append(WrongAnswer(named["exercise"], named["mistake"], source.strip()))
    return answers


def read_needs(text: str) -> dict[str, list[str]]:
    """Return the cells that ``text`` names before its first answer, by exercise.

    Raises ``ValueError`` for any other line there that is not blank, and if an exercise is named
    twice.
    """
    before, *_ = _HEAD.split(text)
    needs: dict[str, list[str]] = {}
    for line in before.splitlines():
        if not line.strip():
            continue
        found = _NEEDS.fullmatch(line.rstrip())
        if found is None or found["exercise"] in needs:
            raise ValueError(
                f"The line {line!r} is not of the form '# exercise needs: cell, cell', or its "
                "exercise occurs twice."
            )
        needs[found["exercise"]] = found["cells"].split(", ")
    return needs
