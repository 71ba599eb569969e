"""Names in documents, and the files, modules and make targets that they can refer to."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.settings import PROJECT

#: The documents of the project.
DOCUMENTS = (
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted((PROJECT / "docs").glob("*.md")),
)

#: The Python packages, and the tests.
PACKAGES = ("helpers", "course", "benchmarks")
FOLDERS = (*PACKAGES, "tests")

_STEP = re.compile(r"^\d+\. `([^`]+)` · (`[^`]+`(?:, `[^`]+`)*): \S", re.MULTILINE)


def make_targets() -> frozenset[str]:
    """Return the targets that ``make help`` lists."""
    text = (PROJECT / "Makefile").read_text("utf-8")
    return frozenset(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))


def python_files() -> list[Path]:
    """Return the Python files of the packages and of the tests."""
    found = [one for folder in FOLDERS for one in (PROJECT / folder).rglob("*.py")]
    return sorted(found)


def modules() -> dict[str, Path]:
    """Return the modules of all packages by their dotted names."""
    found = {}
    files = [file for package in PACKAGES for file in (PROJECT / package).rglob("*.py")]
    for file in sorted(files):
        parts = file.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def walks() -> dict[str, list[tuple[str, list[str]]]]:
    """Return the steps of the walks in CONTRIBUTING.md: a file and the names in it, by heading."""
    return {
        heading: [(file, re.findall(r"`([^`]+)`", names)) for file, names in _STEP.findall(text)]
        for heading, text in walk_texts().items()
    }


def walk_texts() -> dict[str, str]:
    """Return the text of each walk by the first words of its heading, such as ``An order``."""
    text = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    part = text.partition("\n## Walks\n")[2].partition("\n## ")[0]
    return dict(
        re.findall(r"^### ([^:\n]+): [^\n]*\n(.*?)(?=^### |\Z)", part, re.MULTILINE | re.DOTALL)
    )
