"""Write what students get.

Run as ``python -m course.grading.student_copy --source FILE --to FOLDER`` (``make student``). The
copy has the lessons, the packages behind them, the students' version of the project, and what
``make check`` needs. It has no source of the project, no grader, no tests and no history.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import sys
from pathlib import Path

from course.grading import release
from helpers.errors import CourseError, GradingError
from helpers.settings import PROJECT, as_path

_MISTAKE = 2
_FILES = (
    *(".devcontainer", ".env.example", ".gitignore", "LICENSE", "docker-compose.yml", "helpers"),
    *("pyproject.toml", "requirements.txt", "docs/differences.md", "docs/figures.md"),
    *("docs/notebook.png", "docs/overview.svg", "docs/servers.md", "docs/storefront.png"),
    *("docs/troubleshooting.md", "docs/using.md", "notebooks/glossary.md"),
)
#: Lessons, but not a student's or an instructor's copy of the project.
_LESSONS = "[0-9][0-9]_*.ipynb"
_INSTRUCTORS_VARIABLES = ("# The project's source", "SOURCE ", "JOBS ", "LIMITS ")
_SECTIONS = ("Start", "The course", "The shop as a program", "Other servers", "Licence")
_PROJECT_SECTION = """\
## Your project

The graded project is [{notebook}]({notebook}). `make check` runs it on your servers and shows how \
far each task is. When it is graded, further tests run. Hand in this one notebook.
"""


def write(source: Path, to: Path) -> None:
    """Write the students' copy of the course into ``to``, a folder that is new or empty.

    ``source`` is the project's source notebook.

    Raises ``GradingError`` if ``to`` has content, is inside the course, or the source is invalid.
    """
    target = to.resolve()
    if target.is_relative_to(PROJECT) and not target.is_relative_to(PROJECT / "build"):
        raise GradingError(f"{to} is inside the course: give a folder elsewhere as TO.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise GradingError(f"{to} is not empty: give a new folder as TO.")
    notebook = release.write(source, target / "notebooks")
    lessons = [file for file in (PROJECT / "notebooks").glob(_LESSONS) if file.name != source.name]
    places = [*(PROJECT / name for name in _FILES), *lessons]
    places += modules(PROJECT / "course" / "grading" / "check.py", PROJECT / "course/marketplace")
    for place in places:
        _copy(place, target / place.relative_to(PROJECT))
    (target / "Makefile").write_text(_makefile((PROJECT / "Makefile").read_text("utf-8")), "utf-8")
    readme = _readme((PROJECT / "README.md").read_text("utf-8"), f"notebooks/{notebook.name}")
    (target / "README.md").write_text(readme, "utf-8")


def modules(*starts: Path) -> list[Path]:
    """Return the files of ``course`` that ``starts`` need: what they import or run by its name."""
    waiting = [file for start in starts for file in _python_files(start)]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found |= {file, *(parent / "__init__.py" for parent in _packages(file))}
            waiting += _used_by(file)
    return sorted(found | {PROJECT / "course" / "py.typed"})


def _python_files(start: Path) -> list[Path]:
    return sorted(start.rglob("*.py")) if start.is_dir() else [start]


def _packages(file: Path) -> list[Path]:
    return [parent for parent in file.parents if parent.is_relative_to(PROJECT / "course")]


def _used_by(file: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # ``python -m course.…``
    places = [
        PROJECT.joinpath(*name.split("."))
        for name in names
        if re.fullmatch(r"course(\.\w+)+", name)
    ]
    files = [place.with_suffix(".py") for place in places]
    files += [place / "__init__.py" for place in places]
    return [place for place in files if place.is_file()]


def _copy(place: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        shutil.copytree(place, to, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    else:
        shutil.copyfile(place, to)


def _makefile(text: str) -> str:
    """Return the Makefile without the targets for instructors and contributors."""
    parts = re.split(r"(?m)^(?=# ---- )", text)
    kept = [part for part in parts if not re.match(r"# ---- For (instructors|contrib)", part)]
    targets = {name for part in kept for name in re.findall(r"(?m)^([a-z][a-z-]*):", part)}
    phony = f".PHONY: {' '.join(sorted(targets))}"
    lines = "".join(kept).rstrip().splitlines()
    lines = [phony if line.startswith(".PHONY") else line for line in lines]
    return "\n".join(line for line in lines if not line.startswith(_INSTRUCTORS_VARIABLES)) + "\n"


def _readme(text: str, notebook: str) -> str:
    """Return the README with the sections for students, and one about the project."""
    first, *others = re.split(r"(?m)^## ", text)
    by_title = {part.partition("\n")[0]: f"## {part.strip()}\n" for part in others}
    sections = [by_title[title] for title in _SECTIONS]
    sections.insert(2, _PROJECT_SECTION.format(notebook=notebook))
    return "\n".join([first.strip() + "\n", *sections])


def main() -> int:
    """Write the students' copy and say what to do with it."""
    parser = argparse.ArgumentParser(
        prog="python -m course.grading.student_copy", description=__doc__
    )
    parser.add_argument("--source", type=as_path, required=True)
    parser.add_argument("--to", type=as_path, required=True, help="a new folder")
    options = parser.parse_args()
    try:
        write(options.source, options.to)
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE
    print(f"The students' copy is in {options.to}: hand out this folder.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
