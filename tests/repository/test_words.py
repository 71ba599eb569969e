"""Words that once stood for the field's terms do not come back: into names, docstrings, documents.

The list catches relapses. Whether the English is good is for reading to decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.settings import PROJECT
from tests.repository.naming import DOCUMENTS, PACKAGES

#: What to write instead. Matched as whole words, also inside names such as ``OrderKeeper``.
INSTEAD = {
    "anew": "again, rebuilt",
    "asking": "executor, request",
    "crowd": "concurrent clients",
    "crowds": "concurrent clients",
    "dearer": "more expensive",
    "envelope": "request logging",
    "errand": "background task",
    "errands": "background tasks",
    "faces": "api, cli, plots",
    "ground": "test shop",
    "keeper": "background worker",
    "keepers": "background workers",
    "nobody": "no client, no process",
    "resting": "circuit open",
    "somebody": "another client, another process",
    "spare": "temporary",
    "standing": "status",
    "victim": "crash worker",
    "victims": "crash workers",
    "whoever": "a client that, if a client",
    "whomever": "a client that, if a client",
    "whosoever": "a client that, if a client",
}
PHRASES = ("in vain", "of its own", "of their own", "for so long and no longer")

#: Texts that the stored outputs of lessons contain, so that they change with the lessons.
PRINTED = ("nobody listens there", "examined in vain")

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_KINDS = {".py", ".sql", ".lua", ".js", ".css", ".md", ".yml", ".toml"}


def private_words(text: str) -> Iterator[str]:
    """Yield each private word or phrase of a text, with the number of its line."""
    for printed in PRINTED:
        text = text.replace(printed, "")
    for number, line in enumerate(text.splitlines(), start=1):
        for word in _WORD.findall(line):
            if word.lower() in INSTEAD:
                yield f"{number}: {word} (write: {INSTEAD[word.lower()]})"
        for phrase in PHRASES:
            if phrase in line.lower():
                yield f"{number}: {phrase}"


def _files() -> list[Path]:
    found = [file for package in PACKAGES for file in (PROJECT / package).rglob("*")]
    top = [PROJECT / name for name in ("Makefile", "pyproject.toml")]
    files = [file for file in found if file.suffix in _KINDS and file.is_file()]
    return sorted({*files, *DOCUMENTS, *top})


@pytest.mark.parametrize("text", ["class OrderKeeper:", "is_resting = 1", "Made anew", "In vain"])
def test_a_private_word_is_found(text: str) -> None:
    assert len(list(private_words(text))) == 1


@pytest.mark.parametrize("text", ["background", "outstanding", "spared", "the ``Surface``"])
def test_other_words_are_not_found(text: str) -> None:
    assert list(private_words(text)) == []


def test_no_private_word_is_in_the_code_or_the_documents() -> None:
    found = {
        str(file.relative_to(PROJECT)): words
        for file in _files()
        if (words := list(private_words(file.read_text("utf-8"))))
    }
    assert found == {}
