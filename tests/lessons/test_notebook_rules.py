"""The rules for notebooks, each with an example that violates it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.settings import PROJECT
from tests.lessons.notebook_rules import VOLATILE, check, code_cells, compared_cells

NOTEBOOKS = sorted(
    path for folder in ("notebooks", "project") for path in (PROJECT / folder).glob("*.ipynb")
)


def _code(name: str, count: int, source: str, text: str, tags: tuple[str, ...] = ()) -> Any:
    return {
        "cell_type": "code",
        "id": name,
        "execution_count": count,
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": text}] if text else [],
    }


def _markdown(name: str, source: str) -> Any:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


GOOD: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {}, "language_info": {"name": "python"}},
    "cells": [
        _markdown("title", "# A lesson\n\nAfter it, you will be able to … About 10 minutes."),
        _code("first", 1, "print(1)", "1\n"),
        _code("timing", 2, "print(elapsed)", "12.5 ms\n", (VOLATILE,)),
        _code("timing-holds", 3, "assert elapsed > 0\nprint('ok')", "ok\n"),
    ],
}


def _cell(notebook: Any, name: str) -> Any:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


WORDS = "Rows of eight shards on two workers: 121 on the first, 126 on the second."


def _picture(notebook: Any, metadata: dict[str, Any], words: str = WORDS) -> None:
    _cell(notebook, "first")["outputs"] = [
        {
            "output_type": "display_data",
            "data": {"image/png": "aGVsbG8=", "text/plain": words},
            "metadata": metadata,
        }
    ]


def _set(name: str, **values: Any) -> Callable[[Any], None]:
    return lambda notebook: _cell(notebook, name).update(values)


def _print(text: str) -> Callable[[Any], None]:
    return lambda notebook: _cell(notebook, "first")["outputs"][0].update(text=text)


VIOLATIONS: dict[str, tuple[Callable[[Any], None], str]] = {
    "a cell without execution count": (_set("first", execution_count=None), "was never run"),
    "counts out of order": (_set("first", execution_count=7), "not run once from top to bottom"),
    "an old format": (lambda n: n.update(nbformat_minor=4), "older than nbformat 4.5"),
    "a random id": (_set("first", id="8f3a91c2"), "not a name in lower-case"),
    "a random uuid": (_set("first", id="8f3a91c2-0000-4000-a000-00000000abcd"), "not a name"),
    "no id": (lambda n: _cell(n, "first").pop("id"), "not a name in lower-case"),
    "one id twice": (_set("first", id="title"), "id of more than one cell"),
    "an error output": (
        _set("first", outputs=[{"output_type": "error", "ename": "KeyError"}]),
        "fails with KeyError",
    ),
    "standard error": (
        lambda n: _cell(n, "first")["outputs"][0].update(name="stderr"),
        "writes to standard error",
    ),
    "a path of a machine": (_print("/home/somebody/shop"), "a path of a machine"),
    "a path of a Mac": (_print("at /Users/somebody/shop"), "a path of a machine"),
    "a path of Windows": (_print("C:\\Users"), "a path of a machine"),
    "a path in the source": (_set("first", source="open('/tmp/x')"), "a path of a machine"),
    "a password": (_print("redis://:s3cret@host:1/0"), "with its password"),
    "a duration": (_print("took 3.2 ms"), "shows a duration"),
    "an address of memory": (_print("<X at 0x7f0123456789>"), "the address of an object"),
    "a port": (_print("127.0.0.1:23456"), "a port of this machine"),
    "an ObjectId": (_print("68d1c0ffee68d1c0ffee68d1"), "a random identifier"),
    "a volatile cell at the end": (
        lambda n: n["cells"].pop(),
        "timing: is volatile, but no assertion follows",
    ),
    "a volatile cell without assertion": (
        _set("timing-holds", source="print('ok')"),
        "no assertion follows",
    ),
    "an assertion in a comment only": (
        _set("timing-holds", source="# assert elapsed\nprint('ok')"),
        "no assertion follows",
    ),
    "an assertion that is itself volatile": (
        lambda n: _cell(n, "timing-holds")["metadata"].update(tags=[VOLATILE]),
        "no assertion follows",
    ),
    "an unknown tag": (
        lambda n: _cell(n, "first")["metadata"].update(tags=["nbval-skip"]),
        "unknown tag 'nbval-skip'",
    ),
    "volatile cell metadata": (
        lambda n: _cell(n, "first")["metadata"].update(execution={}),
        "volatile metadata",
    ),
    "volatile notebook metadata": (
        lambda n: n["metadata"].update(widgets={}),
        "volatile metadata",
    ),
    "the version of Python": (
        lambda n: n["metadata"]["language_info"].update(version="3.11"),
        "contains the version of Python",
    ),
    "a Markdown image without alt text": (
        lambda n: n["cells"].append(_markdown("picture", "![](x.png)")),
        "an image without alt text",
    ),
    "an HTML image without alt text": (
        lambda n: n["cells"].append(_markdown("picture", '<img src="x.png">')),
        "an <img> without alt text",
    ),
    "an HTML image with an empty alt text": (
        lambda n: n["cells"].append(_markdown("picture", '<img src="x.png" alt="">')),
        "an <img> without alt text",
    ),
    "a plot without alt text": (lambda n: _picture(n, {}), "a picture without alt text"),
    "a plot with a title for alt text": (
        lambda n: _picture(n, {"image/png": {"alt": "Rows of shards"}}),
        "too short: 'Rows of shards'",
    ),
    "a plot whose plain text is not its alt text": (
        lambda n: _picture(n, {"image/png": {"alt": WORDS}}, "<Figure size 640x480>"),
        "whose plain text is not its alt text",
    ),
    "no title": (
        _set("title", source="A lesson of 10 minutes: you will be able to"),
        "with a title",
    ),
    "no objectives": (_set("title", source="# A lesson of 10 minutes"), "you will be able to"),
    "no minutes": (_set("title", source="# A lesson\n\nyou will be able to"), "minutes"),
}


def test_a_valid_notebook_has_no_problems() -> None:
    assert check(GOOD) == []
    assert (compared_cells(GOOD), code_cells(GOOD)) == (2, 3)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_violation_is_found(name: str) -> None:
    violate, expected = VIOLATIONS[name]
    notebook = copy.deepcopy(GOOD)
    violate(notebook)
    problems = check(notebook)
    assert any(expected in problem for problem in problems), problems


def test_a_notebook_without_compared_output_is_refused() -> None:
    notebook = copy.deepcopy(GOOD)
    for cell in notebook["cells"]:
        cell["outputs"] = []
    assert "has no output that is compared" in check(notebook)


def test_a_picture_with_an_alt_text_is_accepted() -> None:
    notebook = copy.deepcopy(GOOD)
    _picture(notebook, {"image/png": {"alt": WORDS}})
    assert check(notebook) == []


def test_the_course_has_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_of_the_course_follows_the_rules(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    assert check(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_most_code_cells_are_compared(path: Path) -> None:
    """At least 70 % of the code cells have an output that nbval compares."""
    notebook = json.loads(path.read_text("utf-8"))
    assert compared_cells(notebook) >= 0.7 * code_cells(notebook)
