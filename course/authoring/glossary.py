"""The glossary: its entries, and where lessons use them. A lesson links a word where it first does.

An entry is a heading ``### term`` and a paragraph, which may begin with ``Also *this*, *that*.``:
other forms of the word, beside its plural, by which a use is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from course.authoring.markdown import links, prose
from course.authoring.notebook_rules import source_of

GLOSSARY = "glossary.md"

_ENTRY = re.compile(r"^### (.+)\n\n(?:Also ((?:\*[^*]+\*(?:, )?)+)\. )?(.+)$", re.MULTILINE)
_SOLUTION = "### BEGIN SOLUTION"


class Entry(NamedTuple):
    """An entry of the glossary: the term, its other forms, and what is said of it."""

    term: str
    also: tuple[str, ...]
    text: str

    @property
    def anchor(self) -> str:
        """Where links to the entry lead."""
        return self.term.replace(" ", "-")


class Use(NamedTuple):
    """A use of an entry in a text, from ``start`` to ``end``; linked, if it leads to the entry."""

    entry: Entry
    start: int
    end: int
    linked: bool


def read_glossary(text: str) -> list[Entry]:
    """Return the entries of a glossary, in its order."""
    return [
        Entry(term, tuple(re.findall(r"\*([^*]+)\*", also)), said)
        for term, also, said in _ENTRY.findall(text)
    ]


def uses(markdown: str, entries: Sequence[Entry]) -> list[Use]:
    """Return the uses of ``entries`` in the prose of a text, in order.

    Where one term is a part of another, such as stream of change stream, the longer is meant. What
    stands in a link to another place is not counted.
    """
    text = prose(markdown)
    by_anchor = {entry.anchor: entry for entry in entries}
    found: list[Use] = []
    for link in links(markdown):
        stop = link.start + len(link.text)
        place, _, anchor = link.target.partition("#")
        if place.rpartition("/")[2] == GLOSSARY and anchor in by_anchor:
            found.append(Use(by_anchor[anchor], link.start, stop, linked=True))
        text = text[: link.start] + " " * (stop - link.start) + text[stop:]
    for entry in entries:
        found += [Use(entry, *match.span(), linked=False) for match in _form(entry).finditer(text)]
    kept: list[Use] = []
    for use in sorted(found, key=lambda use: (use.start, -use.end)):
        if not kept or use.start >= kept[-1].end:
            kept.append(use)
    return kept


def unlinked(notebook: dict[str, Any], entries: Sequence[Entry]) -> Iterator[tuple[str, Use]]:
    """Yield where a notebook's first use of an entry has no link, or where a later one has.

    Each with the id of its cell. Answers to questions in words are the reader's own, and left out.
    """
    seen: set[str] = set()
    for cell in notebook["cells"]:
        text = source_of(cell)
        if cell["cell_type"] != "markdown" or _SOLUTION in text:
            continue
        for use in uses(text, entries):
            if use.linked == (use.entry.term in seen):
                yield cell["id"], use
            seen.add(use.entry.term)


def _form(entry: Entry) -> re.Pattern[str]:
    forms = "|".join(
        r"[\s-]".join(map(re.escape, re.split(r"[ -]", form)))
        for form in sorted((entry.term, *entry.also), key=len, reverse=True)
    )
    return re.compile(rf"(?<![\w-])(?:{forms})(?:e?s)?(?!\w)", re.IGNORECASE)
