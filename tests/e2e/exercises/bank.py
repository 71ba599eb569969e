"""The bank, ``answers``: for each lesson a file of wrong answers to its exercises.

A file is a lesson's, and is read as it is by an editor that knows cells::

    # counts needs: fill

    # %% counts: a count is left as a text
    def counts(client, ids):
        ...

Each answer begins with a line that names the exercise and the mistake, and runs in the lesson's
notebook, where the stub stands. The file begins with the cells whose effects an exercise needs, by
their ids; what it needs by name is found without (see ``needs.py``).
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
    """An answer that a check must refuse: to which exercise, by which mistake, and its source."""

    exercise: str
    mistake: str
    source: str

    @property
    def title(self) -> str:
        """What tells it from all others of the lesson."""
        return f"{self.exercise}: {self.mistake}"


def lessons_with_answers() -> list[str]:
    """Return the lessons that have a file in the bank."""
    return sorted(path.stem for path in _BANK.glob("*.py"))


def wrong_answers(lesson: str) -> list[WrongAnswer]:
    """Return the wrong answers to a lesson's exercises, in their order; none without a file."""
    path = _BANK / f"{lesson}.py"
    return read_bank(path.read_text("utf-8")) if path.exists() else []


def needed_cells(lesson: str) -> dict[str, list[str]]:
    """Return the cells whose effects the exercises of a lesson need, by exercise."""
    path = _BANK / f"{lesson}.py"
    return read_needs(path.read_text("utf-8")) if path.exists() else {}


def read_bank(text: str) -> list[WrongAnswer]:
    """Return the wrong answers that ``text`` holds.

    Raises ``ValueError`` for a head that names no exercise and mistake.
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

    Raises ``ValueError`` for a line there that is not blank and names no exercise and cells, and
    where an exercise is named twice.
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
                "exercise was named before."
            )
        needs[found["exercise"]] = found["cells"].split(", ")
    return needs
