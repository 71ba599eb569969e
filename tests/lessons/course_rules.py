"""The rules for the lessons as a whole: their minutes add up, and their links work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.lessons.markdown import Link, anchors, github_anchors, links
from tests.lessons.notebook_rules import source_of

CLOSE = "## What you can do now"

_TOTAL = re.compile(r"^About (\d+) minutes\b", re.MULTILINE)
_SECTION = re.compile(r"^## (.+?)(?: \*\((\d+) min\)\*)?$", re.MULTILINE)


def texts(notebook: dict[str, Any]) -> list[str]:
    """Return the Markdown cells of a notebook, in order."""
    return [source_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def total_minutes(notebook: dict[str, Any]) -> int | None:
    """Return the total minutes that a lesson states, or ``None``."""
    found = _TOTAL.search(texts(notebook)[0])
    return int(found[1]) if found else None


def section_minutes(notebook: dict[str, Any]) -> dict[str, int | None]:
    """Return the minutes of each section, by heading; ``None`` if it states none."""
    found = [match for text in texts(notebook) for match in _SECTION.finditer(text)]
    return {match[1]: int(match[2]) if match[2] else None for match in found}


def close_of(notebook: dict[str, Any]) -> str:
    """Return the end of a lesson, from its heading ``What you can do now`` on."""
    return next(text[text.index(CLOSE) :] for text in texts(notebook) if CLOSE in text)


def broken_links(
    markdown: str, folder: Path, *, anchors_of: Callable[[str], set[str]] = anchors
) -> Iterator[Link]:
    """Yield the links of a text in ``folder`` to a missing file or heading.

    Web addresses are not checked. A link to a heading in another file must lead to one of
    ``anchors_of`` that file's text, by default those that work both in JupyterLab and on GitHub. A
    link within the text must work on GitHub.
    """
    for link in links(markdown):
        place, _, anchor = link.target.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        if not place:
            there = anchor in github_anchors(markdown)
        elif anchor:
            there = (folder / place).is_file() and anchor in anchors_of(
                (folder / place).read_text("utf-8")
            )
        else:
            there = (folder / place).exists()
        if not there:
            yield link
