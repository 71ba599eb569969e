"""The documents: what they name is there, where they lead there is something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from course.authoring.course_rules import broken_links
from course.authoring.markdown import github_anchors, links
from helpers.settings import PROJECT
from tests.repository.naming import DOCUMENTS, make_targets, modules, parts_with_walks, walks

#: Made by commands, so not there in a clone.
MADE = (".venv/", ".shop/", "build/", ".env")

#: Files that somebody would make: a new lesson, the students' version of the project.
EXAMPLES = {"notebooks/08_name.ipynb", "notebooks/07_project.ipynb"}

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_MAKE = re.compile(r" *(?:\w+=\S+ +)*make +(?:\w+=\S+ +)*([a-z][a-z-]*)")
_TOP = {entry.name for entry in PROJECT.iterdir()}


def named_paths(text: str) -> Iterator[str]:
    """Yield the files and folders of the project that a document's code names.

    What has a slash counts where it begins with a folder of the project, and else any name of a
    file that stands at the top. Placeholders (``TO=folder``, ``plots_….py``) are none.
    """
    for code in _CODE.findall(text):
        for word in re.findall(r"[\w.][\w./-]*", code):
            place = word.rstrip(".")
            first, slash, _ = place.partition("/")
            known = first in _TOP if slash else re.fullmatch(r"[\w-]+\.(md|in|txt|yml|toml)", place)
            if known and not place.startswith(MADE) and f"{word}…" not in code:
                yield place


def named_targets(text: str) -> set[str]:
    """Return the targets of ``make`` that a document's code names."""
    lines = [line for code in _CODE.findall(text) for line in code.strip("`").splitlines()]
    commands = [part for line in lines for part in re.split(r"&&|;", line.removeprefix("$ "))]
    return {found[1] for command in commands if (found := _MAKE.match(command))}


def named_modules(text: str) -> set[str]:
    """Return the modules that a document's code runs by ``python -m``."""
    return set(re.findall(r"python -m ((?:helpers|tests)[\w.]*)", " ".join(_CODE.findall(text))))


def broken(text: str, folder: Path) -> list[str]:
    """Return the links of a document that lead nowhere on GitHub, where it is read."""
    return [one.target for one in broken_links(text, folder, anchors_of=github_anchors)]


def defined(file: Path) -> set[str]:
    """Return what a module defines: functions and classes, those inside others too, ``C.method``.

    Imported names are not its own.
    """
    found: set[str] = set()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, kinds):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, kinds)}
    return found


@pytest.fixture(params=DOCUMENTS, ids=lambda one: one.name)
def document(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_every_file_that_is_named_exists(document: Path) -> None:
    named = set(named_paths(document.read_text("utf-8")))
    missing = {place for place in named if not (PROJECT / place).exists()}
    assert missing - EXAMPLES == set()


def test_every_target_of_make_that_is_named_exists(document: Path) -> None:
    assert named_targets(document.read_text("utf-8")) <= make_targets()


def test_the_front_page_and_the_house_name_much() -> None:
    """Where nothing was found to be held to anything, nothing would be held."""
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (PROJECT / name).read_text("utf-8")
        assert len(set(named_paths(text))) >= 8
        assert len(named_targets(text)) >= 8
        assert len(list(links(text))) >= 3


def test_every_module_that_is_run_exists(document: Path) -> None:
    tests = {
        ".".join(one.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for one in (PROJECT / "tests").rglob("*.py")
    }
    assert named_modules(document.read_text("utf-8")) <= modules().keys() | tests


def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken(document.read_text("utf-8"), document.parent) == []


def test_every_picture_says_what_is_seen(document: Path) -> None:
    for link in links(document.read_text("utf-8")):
        assert not link.image or len(link.text.split()) > 5, link.target


def test_what_is_not_there_is_found() -> None:
    text = "See `helpers/nowhere.py`, `make nothing` and `python -m helpers.none`: [x](gone.md)."
    assert list(named_paths(text)) == ["helpers/nowhere.py"]
    assert named_targets(text) == {"nothing"}
    assert named_modules(text) == {"helpers.none"}
    text += "\n\n## With an id, on its way!\n\n[y](#no) [z](#with-an-id-on-its-way)"
    assert broken(text, PROJECT) == ["gone.md", "#no"]


def test_the_two_walks_go_through_what_there_is() -> None:
    assert [len(walk) > 10 for walk in walks()] == [True, True]
    for file, names in (step for walk in walks() for step in walk):
        unknown = set(names) - defined(PROJECT / file)
        assert not unknown, f"{file} does not define {', '.join(sorted(unknown))}"


def test_every_step_of_a_walk_is_read() -> None:
    """A line that is not of the form that the test above reads would not be held to anything."""
    for part, walk in zip(parts_with_walks(), walks(), strict=True):
        assert len(re.findall(r"^\d+\. ", part, re.MULTILINE)) == len(walk)
