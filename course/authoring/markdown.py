"""What the Markdown of lessons is made of: prose, links, headings and the anchors of these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
# What is no prose: blocks and spans of code, comments, headings, rows of tables.
_NO_PROSE = re.compile(
    r"^```.*?^```|<!--.*?-->|`[^`\n]+`|^#{1,6} .*?$|^\|.*?$", re.MULTILINE | re.DOTALL
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


class Link(NamedTuple):
    """A link: its ``text``, its ``target``, and where the text begins and the whole link ends."""

    text: str
    target: str
    start: int
    end: int
    image: bool


def links(markdown: str) -> Iterator[Link]:
    """Yield the links and images of a text, in order; those in code are none."""
    for found in _LINK.finditer(_CODE.sub(_blank, markdown)):
        yield Link(found[2], found[3], found.start(2), found.end(), found[1] == "!")


def prose(markdown: str) -> str:
    """Return a text of the same length in which everything that is no prose is blank.

    Of links, the text is prose, and the target is none.
    """
    text = list(_NO_PROSE.sub(_blank, markdown))
    for link in links(markdown):
        after = link.start + len(link.text)
        text[after : link.end] = " " * (link.end - after)
        text[link.start - 1] = " "
    return "".join(text)


def headings(markdown: str) -> list[str]:
    """Return the headings of a text, of any level, without those in code."""
    return _HEADING.findall(_CODE.sub(_blank, markdown))


def github_anchors(markdown: str) -> set[str]:
    """Return the anchors of a text's headings on GitHub: small letters, without punctuation."""
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings(markdown)}


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a text's headings that are the same in JupyterLab and on GitHub.

    JupyterLab takes a heading as it is, with hyphens for blanks; see ``github_anchors``. An anchor
    that is not the same for both leads nowhere for somebody.
    """
    return {one.replace(" ", "-") for one in headings(markdown)} & github_anchors(markdown)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
