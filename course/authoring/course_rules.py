"""What the lessons must be as one course: their minutes add up, and their links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from course.authoring.markdown import Link, anchors, github_anchors, links
from course.authoring.notebook_rules import source_of

CLOSE = "## What you can do now"

_TOTAL = re.compile(r"^About (\d+) minutes\b", re.MULTILINE)
_SECTION = re.compile(r"^## (.+?)(?: \*\((\d+) min\)\*)?$", re.MULTILINE)


def texts(notebook: dict[str, Any]) -> list[str]:
    """Return the Markdown cells of a notebook, in order."""
    return [source_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def total_minutes(notebook: dict[str, Any]) -> int | None:
    """Return how many minutes a lesson says that it takes; ``None`` where it does not say it."""
    found = _TOTAL.search(texts(notebook)[0])
    return int(found[1]) if found else None


def section_minutes(notebook: dict[str, Any]) -> dict[str, int | None]:
    """Return the minutes of each section by its heading; ``None`` for one that says none."""
    found = [match for text in texts(notebook) for match in _SECTION.finditer(text)]
    return {match[1]: int(match[2]) if match[2] else None for match in found}


def close_of(notebook: dict[str, Any]) -> str:
    """Return the end of a lesson, from its heading ``What you can do now`` on."""
    return next(text[text.index(CLOSE) :] for text in texts(notebook) if CLOSE in text)


def broken_links(
    markdown: str, folder: Path, *, anchors_of: Callable[[str], set[str]] = anchors
) -> Iterator[Link]:
    """Yield the links of a text in ``folder`` that lead to no file, or to no heading in it.

    Addresses on the web are not tried. A link to a heading elsewhere must lead to one of
    ``anchors_of`` the text there: as it is, in JupyterLab and on GitHub alike. One within the text
    itself is GitHub's.
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
