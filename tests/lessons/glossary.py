"""The glossary: its entries, and their uses in lessons. A lesson links the first use of a term.

An entry is a heading ``### term`` and a paragraph, which may begin with ``Also *this*, *that*.``:
other forms of the term, in addition to its plural.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tests.lessons.markdown import links, prose
from tests.lessons.notebook_rules import source_of

GLOSSARY = "glossary.md"

_ENTRY = re.compile(r"^### (.+)\n\n(?:Also ((?:\*[^*]+\*(?:, )?)+)\. )?(.+)$", re.MULTILINE)
_SOLUTION = "### BEGIN SOLUTION"


class Entry(NamedTuple):
    """An entry of the glossary: the term, its other forms, and the definition."""

    term: str
    also: tuple[str, ...]
    text: str

    @property
    def anchor(self) -> str:
        """The anchor of the entry, for links."""
        return self.term.replace(" ", "-")


class Use(NamedTuple):
    """A use of a term in a text, from ``start`` to ``end``; ``linked`` if it links to its entry."""

    entry: Entry
    start: int
    end: int
    linked: bool


def read_glossary(text: str) -> list[Entry]:
    """Return the entries of a glossary, in order."""
    return [
        Entry(term, tuple(re.findall(r"\*([^*]+)\*", also)), definition)
        for term, also, definition in _ENTRY.findall(text)
    ]


def uses(markdown: str, entries: Sequence[Entry]) -> list[Use]:
    """Return the uses of ``entries`` in the prose of a text, in order.

    If a term is part of a longer one, as "stream" of "change stream", the longer one counts. Links
    to other places are ignored.
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
    """Yield the first uses of entries without a link, and later uses with one.

    Each comes with the id of its cell. Answers in words are written by the reader, and left out.
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
