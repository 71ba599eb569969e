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


def parts_with_walks() -> list[str]:
    """Return the parts of CONTRIBUTING.md that go through the code: a request, a submission."""
    text = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    return re.findall(r"^### With a .*?(?=^##)", text, re.MULTILINE | re.DOTALL)


def walks() -> list[list[tuple[str, list[str]]]]:
    """Return the steps of these walks: a file, and the names in it that are walked through."""
    return [
        [(file, re.findall(r"`([^`]+)`", names)) for file, names in _STEP.findall(part)]
        for part in parts_with_walks()
    ]
