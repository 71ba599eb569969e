"""The rules for every notebook of the course, checked in the file without running it.

nbval skips cells that were never run and cells whose output is tagged as volatile. These rules
ensure that a notebook that passes has been verified nevertheless.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

Notebook = dict[str, Any]
Cell = dict[str, Any]

#: The tag of cells whose output nbval does not compare.
VOLATILE = "nbval-ignore-output"

_ALLOWED_TAGS = {VOLATILE, "exercise", "solution"}
_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_RANDOM_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-[0-9a-f]{12})?")
_ABSOLUTE_PATH = re.compile(
    r"(?<![\w:/.])/(home|Users|root|tmp|var|opt|mnt|private|work|workspaces?|srv|usr|etc)/\w"
    r"|\b[A-Z]:\\\w"
)
_PASSWORD = re.compile(r"://[^/\s:@]*:(?!\*\*\*@)[^/\s@{}]+@")
_MARKDOWN_IMAGE_WITHOUT_ALT = re.compile(r"!\[\s*\]\(")
_HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_HTML_ALT = re.compile(r"""\balt\s*=\s*("[^"]*\w[^"]*"|'[^']*\w[^']*')""", re.IGNORECASE)
# An alt text must be a sentence, not a title.
_MIN_ALT_WORDS = 10
_VOLATILE_SIGNS = {
    "the address of an object": re.compile(r"\b0x[0-9a-f]{6,}"),
    "a duration": re.compile(r"\b\d+(\.\d+)?(e-\d+)? ?(ms|µs|us|ns|s|sec|seconds|milliseconds)\b"),
    "a port of this machine": re.compile(r"(127\.0\.0\.1|localhost|::1\]):\d+"),
    "a process id": re.compile(r"\bpid\W{0,3}\d+", re.IGNORECASE),
    "a random identifier": re.compile(r"\b[0-9a-f]{24}\b|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-"),
}


def check(notebook: Notebook) -> list[str]:
    """Return the problems of a notebook, each with the cell's id; an empty list if there are none.

    ``notebook`` is the parsed JSON of a file of nbformat 4.5.
    """
    problems = [*_check_whole(notebook)]
    for number, cell in enumerate(notebook["cells"], start=1):
        where = cell.get("id", f"cell {number}")
        for check_cell in _CELL_CHECKS:
            problems += [f"{where}: {problem}" for problem in check_cell(cell)]
    return problems


def compared_cells(notebook: Notebook) -> int:
    """Return the number of cells whose output nbval compares."""
    return sum(1 for cell in _code(notebook) if cell["outputs"] and not _is_volatile(cell))


def code_cells(notebook: Notebook) -> int:
    """Return the number of code cells."""
    return len(_code(notebook))


def _check_whole(notebook: Notebook) -> Iterator[str]:
    if (notebook["nbformat"], notebook["nbformat_minor"]) < (4, 5):
        yield "is older than nbformat 4.5, which has no stable cell ids"
    ids = [cell.get("id") for cell in notebook["cells"]]
    for name in sorted({str(name) for name in ids if ids.count(name) > 1}):
        yield f"{name}: is the id of more than one cell"
    if set(notebook["metadata"]) - {"kernelspec", "language_info"}:
        yield "has volatile metadata: run `make notebooks`"
    if set(notebook["metadata"].get("language_info", {})) - {"name"}:
        yield "contains the version of Python: run `make notebooks`"
    counts = [cell["execution_count"] for cell in _code(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"was not run once from top to bottom: its execution counts are {counts}"
    if not compared_cells(notebook):
        yield "has no output that is compared"
    yield from _check_opening(notebook)
    yield from _check_volatile_cells(notebook)


def _check_opening(notebook: Notebook) -> Iterator[str]:
    first = notebook["cells"][0] if notebook["cells"] else {"cell_type": "", "source": ""}
    opening = source_of(first)
    if first["cell_type"] != "markdown" or not opening.startswith("# "):
        yield "does not begin with a title"
    for part in ("you will be able to", "minutes"):
        if part not in opening:
            yield f"does not contain {part!r} in its first cell"


def _check_volatile_cells(notebook: Notebook) -> Iterator[str]:
    """Check that each volatile cell is followed by one that asserts what must hold."""
    code = _code(notebook)
    for cell, following in zip(code, [*code[1:], None], strict=True):
        if _is_volatile(cell) and (
            following is None
            or not re.search(r"^\s*assert\b", source_of(following), re.MULTILINE)
            or _is_volatile(following)
        ):
            yield f"{cell.get('id')}: is volatile, but no assertion follows"


def _check_id(cell: Cell) -> Iterator[str]:
    name = cell.get("id", "")
    if not _SLUG.fullmatch(name) or _RANDOM_ID.fullmatch(name):
        yield f"its id {name!r} is not a name in lower-case letters and hyphens"


def _check_metadata(cell: Cell) -> Iterator[str]:
    if set(cell["metadata"]) - {"nbgrader", "tags"}:
        yield "has volatile metadata: run `make notebooks`"
    for tag in sorted(tags_of(cell) - _ALLOWED_TAGS):
        yield f"has the unknown tag {tag!r}"


def _check_run(cell: Cell) -> Iterator[str]:
    if cell["cell_type"] == "code" and cell["execution_count"] is None:
        yield "was never run"


def _check_failures(cell: Cell) -> Iterator[str]:
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            yield f"fails with {output['ename']}"
        elif output.get("name") == "stderr":
            yield "writes to standard error"


def _check_texts(cell: Cell) -> Iterator[str]:
    for text in (source_of(cell), *_output_texts(cell)):
        if found := _ABSOLUTE_PATH.search(text):
            yield f"contains a path of a machine: {found[0]}…"
        if _PASSWORD.search(text):
            yield "contains an address with its password"


def _check_untagged_volatility(cell: Cell) -> Iterator[str]:
    if not _is_volatile(cell):
        for text in _output_texts(cell):
            for name, sign in _VOLATILE_SIGNS.items():
                if found := sign.search(text):
                    yield f"shows {name} ({found[0]}), but is not tagged {VOLATILE}"


def _check_images(cell: Cell) -> Iterator[str]:
    source = source_of(cell) if cell["cell_type"] == "markdown" else ""
    if _MARKDOWN_IMAGE_WITHOUT_ALT.search(source):
        yield "has an image without alt text"
    for text in (source, *_output_texts(cell)):
        if any(not _HTML_ALT.search(image) for image in _HTML_IMAGE.findall(text)):
            yield "has an <img> without alt text"
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        for kind in data:
            if kind.startswith("image/"):
                alt = output["metadata"].get(kind, {}).get("alt", "")
                if not alt:
                    yield "shows a picture without alt text"
                elif len(alt.split()) < _MIN_ALT_WORDS:
                    yield f"shows a picture whose alt text is too short: {alt!r}"
                elif _joined(data.get("text/plain", "")) != alt:
                    yield "shows a picture whose plain text is not its alt text"


_CELL_CHECKS: tuple[Callable[[Cell], Iterator[str]], ...] = (
    _check_id,
    _check_metadata,
    _check_run,
    _check_failures,
    _check_texts,
    _check_untagged_volatility,
    _check_images,
)


def _code(notebook: Notebook) -> list[Cell]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def tags_of(cell: Cell) -> set[str]:
    """Return a cell's tags."""
    return set(cell["metadata"].get("tags", []))


def _is_volatile(cell: Cell) -> bool:
    return VOLATILE in tags_of(cell)


def source_of(cell: Cell) -> str:
    """Return a cell's source as one string."""
    return _joined(cell["source"])


def _output_texts(cell: Cell) -> Iterator[str]:
    for output in cell.get("outputs", []):
        if "text" in output:
            yield _joined(output["text"])
        for kind, value in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield value if isinstance(value, str) else _joined_or_json(value)


def _joined_or_json(value: Any) -> str:
    return _joined(value) if isinstance(value, list) else json.dumps(value)


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
