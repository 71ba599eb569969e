"""The documents name existing files, targets and modules; their links are valid."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.settings import PROJECT
from tests.lessons.course_rules import broken_links
from tests.lessons.markdown import github_anchors, links
from tests.repository.naming import DOCUMENTS, make_targets, modules, walk_texts, walks

#: Created by commands, so not in a clone.
MADE = (".venv/", ".shop/", "build/", ".env")

#: Files that a reader would create: a new lesson, the students' version of the project.
EXAMPLES = {"notebooks/08_name.ipynb", "notebooks/07_project.ipynb"}

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_MAKE = re.compile(r" *(?:\w+=\S+ +)*make +(?:\w+=\S+ +)*([a-z][a-z-]*)")
_TOP = {entry.name for entry in PROJECT.iterdir()}


def named_paths(text: str) -> Iterator[str]:
    """Yield the files and folders of the project that a document names in code font.

    A path with a slash counts if its first part is a folder of the project, and a name without one
    if it looks like a file at the top level. Placeholders (``TO=folder``) do not count.
    """
    for code in _CODE.findall(text):
        for word in re.findall(r"[\w.][\w./-]*", code):
            place = word.rstrip(".")
            first, slash, _ = place.partition("/")
            known = first in _TOP if slash else re.fullmatch(r"[\w-]+\.(md|in|txt|yml|toml)", place)
            if known and not place.startswith(MADE) and f"{word}…" not in code:
                yield place


def named_targets(text: str) -> set[str]:
    """Return the ``make`` targets that a document names in code font."""
    lines = [line for code in _CODE.findall(text) for line in code.strip("`").splitlines()]
    commands = [part for line in lines for part in re.split(r"&&|;", line.removeprefix("$ "))]
    return {found[1] for command in commands if (found := _MAKE.match(command))}


def named_modules(text: str) -> set[str]:
    """Return the modules that a document runs with ``python -m`` in code font."""
    return set(
        re.findall(
            r"python -m ((?:helpers|course|benchmarks|tests)[\w.]*)", " ".join(_CODE.findall(text))
        )
    )


def broken(text: str, folder: Path) -> list[str]:
    """Return the targets of a document's links that do not exist on GitHub."""
    return [one.target for one in broken_links(text, folder, anchors_of=github_anchors)]


def defined(file: Path) -> set[str]:
    """Return the names of a file's functions and classes, nested ones and ``C.method`` too.

    Imported names are not included. Of an SQL file, return its functions without their schemas.
    """
    if file.suffix == ".sql":
        created = r"^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (?:\w+\.)?(\w+)"
        return set(re.findall(created, file.read_text("utf-8"), re.MULTILINE))
    found: set[str] = set()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, kinds):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, kinds)}
    return found


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.name)
def document(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_every_named_file_exists(document: Path) -> None:
    named = set(named_paths(document.read_text("utf-8")))
    missing = {place for place in named if not (PROJECT / place).exists()}
    assert missing - EXAMPLES == set()


def test_every_named_make_target_exists(document: Path) -> None:
    assert named_targets(document.read_text("utf-8")) <= make_targets()


def test_readme_and_contributing_name_many_things() -> None:
    """If the search found nothing, the other tests would check nothing."""
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (PROJECT / name).read_text("utf-8")
        assert len(set(named_paths(text))) >= 8
        assert len(named_targets(text)) >= 8
        assert len(list(links(text))) >= 3


def test_every_named_module_exists(document: Path) -> None:
    tests = {
        ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for file in (PROJECT / "tests").rglob("*.py")
    }
    assert named_modules(document.read_text("utf-8")) <= modules().keys() | tests


def test_every_link_is_valid(document: Path) -> None:
    assert broken(document.read_text("utf-8"), document.parent) == []


def test_every_picture_has_an_alt_text(document: Path) -> None:
    for link in links(document.read_text("utf-8")):
        assert not link.image or len(link.text.split()) > 5, link.target


def test_missing_files_targets_modules_and_anchors_are_found() -> None:
    text = "See `helpers/nowhere.py`, `make nothing` and `python -m helpers.none`: [x](gone.md)."
    assert list(named_paths(text)) == ["helpers/nowhere.py"]
    assert named_targets(text) == {"nothing"}
    assert named_modules(text) == {"helpers.none"}
    text += "\n\n## With an id, on its way!\n\n[y](#no) [z](#with-an-id-on-its-way)"
    assert broken(text, PROJECT) == ["gone.md", "#no"]


#: The most files that a walk may lead through.
MOST_FILES = {
    "A request": 12,
    "An order": 12,
    "A distributed table": 6,
    "A submission": 10,
    "A start": 10,
}


def test_walks_are_short_and_name_existing_functions() -> None:
    assert {name: len(walk) <= MOST_FILES[name] for name, walk in walks().items()} == dict.fromkeys(
        MOST_FILES, True
    )
    for file, names in (step for walk in walks().values() for step in walk):
        unknown = set(names) - defined(PROJECT / file)
        assert not unknown, f"{file} does not define {', '.join(sorted(unknown))}"


def test_every_step_of_a_walk_has_the_form_that_the_tests_read() -> None:
    for name, text in walk_texts().items():
        assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) == len(walks()[name]) > 5


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text("utf-8").split()) <= 1200
