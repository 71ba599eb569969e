"""Parse the Markdown of lessons: prose, links, headings, and the anchors of headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
# Not prose: code blocks and spans, comments, headings, table rows.
_NO_PROSE = re.compile(
    r"^```.*?^```|<!--.*?-->|`[^`\n]+`|^#{1,6} .*?$|^\|.*?$", re.MULTILINE | re.DOTALL
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


class Link(NamedTuple):
    """A link: its ``text``, its ``target``, where its text starts and where the link ends."""

    text: str
    target: str
    start: int
    end: int
    image: bool


def links(markdown: str) -> Iterator[Link]:
    """Yield the links and images of a text, in order, except those in code."""
    for found in _LINK.finditer(_CODE.sub(_blank, markdown)):
        yield Link(found[2], found[3], found.start(2), found.end(), found[1] == "!")


def prose(markdown: str) -> str:
    """Return a text of the same length in which everything except prose is blank.

    The text of a link is prose, its target is not.
    """
    text = list(_NO_PROSE.sub(_blank, markdown))
    for link in links(markdown):
        after = link.start + len(link.text)
        text[after : link.end] = " " * (link.end - after)
        text[link.start - 1] = " "
    return "".join(text)


def headings(markdown: str) -> list[str]:
    """Return the headings of a text, of any level, except those in code."""
    return _HEADING.findall(_CODE.sub(_blank, markdown))


def github_anchors(markdown: str) -> set[str]:
    """Return the anchors of a text's headings on GitHub: lower case, without punctuation."""
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings(markdown)}


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a text's headings that are the same in JupyterLab and on GitHub.

    JupyterLab keeps a heading as it is, with hyphens for spaces; see ``github_anchors``. A link to
    any other anchor works only in one of them.
    """
    return {text.replace(" ", "-") for text in headings(markdown)} & github_anchors(markdown)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
