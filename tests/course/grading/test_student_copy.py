"""The students' copy: it runs by itself, and has nothing of solutions, hidden tests or rubrics."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from course.grading import student_copy
from course.grading.source import Source, read_source
from helpers.errors import GradingError
from helpers.settings import PROJECT
from tests.course.grading import building
from tests.lessons.course_rules import broken_links
from tests.lessons.markdown import github_anchors

(PROJECT_SOURCE,) = (PROJECT / "project").glob("*.ipynb")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The students' copy of this course."""
    place = tmp_path_factory.mktemp("students") / "course"
    student_copy.write(PROJECT_SOURCE, place)
    return place


def secret_lines(source: Source) -> set[str]:
    """Return the lines of the source that students must not see: all that is not released."""
    released = {line.strip() for cell in source.cells for line in cell.released().splitlines()}
    lines = {line.strip() for cell in source.cells for line in cell.text.splitlines()}
    return {line for line in lines - released if len(line) > 12 and "###" not in line}


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the text of each file of a folder, notebooks as the text of their cells."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            text = file.read_text("utf-8", errors="replace")
            if file.suffix == ".ipynb":
                text += "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
            yield str(file.relative_to(folder)), text


def leaks(folder: Path, secrets: set[str]) -> set[tuple[str, str]]:
    """Return the secret lines in a folder, each with its file.

    A line may also be one of the lessons or of the code behind them, which students always have.
    """
    public = {
        line.strip()
        for part in ("helpers", "notebooks", "course/marketplace")
        for name, text in texts(PROJECT / part)
        if name != PROJECT_SOURCE.name
        for line in text.splitlines()
    }
    wanted = secrets - public
    found = set()
    for name, text in texts(folder):
        lines = wanted & {line.strip() for line in text.splitlines()}
        is_public = name.startswith(("helpers/", "notebooks/")) and (PROJECT / name).exists()
        if not is_public or name.endswith(PROJECT_SOURCE.name):
            lines |= {line for line in wanted if len(line) > 30 and line in text}
        found |= {(name, line) for line in lines}
    return found


def test_no_line_of_a_solution_a_hidden_test_or_a_model_answer_is_in_the_copy(copy: Path) -> None:
    secrets = secret_lines(read_source(PROJECT_SOURCE))
    assert len(secrets) > 300
    assert leaks(copy, secrets) == set()
    # The same search finds a leak.
    (found, *_) = sorted(secrets - {line for line in secrets if len(line) < 40})
    assert leaks(PROJECT / "project", {found}) == {(PROJECT_SOURCE.name, found)}


def test_the_copy_has_no_source_grader_tests_or_history(copy: Path) -> None:
    files = {str(file.relative_to(copy)) for file in copy.rglob("*") if file.is_file()}
    tops = {name.partition("/")[0] for name in files}
    assert not tops & {"project", "tests", "benchmarks", ".git", ".ci", ".github", "build", ".venv"}
    assert f"notebooks/{PROJECT_SOURCE.name}" in files
    grading = {name for name in files if name.startswith("course/grading/")}
    assert "course/grading/check.py" in grading
    for name in ("grade", "gradebook", "feedback", "release", "outgoing", "incoming"):
        assert f"course/grading/{name}.py" not in grading
    assert "docs/instructors.md" not in files
    assert not [name for name in files if "__pycache__" in name]
    lessons = {file.name for file in (PROJECT / "notebooks").glob("0*.ipynb")}
    assert {f"notebooks/{name}" for name in lessons} <= files


def test_every_link_in_the_copy_leads_somewhere(copy: Path) -> None:
    documents = [copy / "README.md", *(copy / "docs").glob("*.md"), *copy.glob("notebooks/*.md")]
    assert len(documents) > 5
    for file in documents:
        found = broken_links(file.read_text("utf-8"), file.parent, anchors_of=github_anchors)
        assert [link.target for link in found] == [], file.name


def test_the_readme_is_for_students(copy: Path) -> None:
    text = (copy / "README.md").read_text("utf-8")
    assert f"(notebooks/{PROJECT_SOURCE.name})" in text
    assert "make check" in text
    assert not re.search("instructors.md|make (release|grade|test|student)|CONTRIBUTING", text)


def test_the_makefile_has_the_students_targets(copy: Path) -> None:
    done = subprocess.run(["make"], cwd=copy, capture_output=True, text=True, check=True)
    targets = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"env", "lab", "up", "down", "status", "check", "docker-up", "clean"} <= targets
    assert not targets & {"grade", "release", "student", "test", "verify", "bank", "lint"}


def test_every_module_of_the_copy_imports_only_what_is_there(copy: Path) -> None:
    files = [*copy.joinpath("course").rglob("*.py"), *copy.joinpath("helpers").rglob("*.py")]
    for file in files:
        for name in re.findall(
            r"(?m)^ *(?:from|import) ((?:course|helpers)[\w.]*)", file.read_text()
        ):
            place = copy.joinpath(*name.split("."))
            assert place.is_dir() or place.with_suffix(".py").is_file(), (file, name)


def test_other_folders_are_never_overwritten(tmp_path: Path) -> None:
    source = building.write(building.sums(), tmp_path / "source" / "07.ipynb")
    for place, why in (
        (source.parent, "not empty"),
        (source, "not empty"),
        (PROJECT, "inside the course"),
        (PROJECT / "docs" / "new", "inside the course"),
    ):
        with pytest.raises(GradingError, match=why):
            student_copy.write(source, place)
    (tmp_path / "empty").mkdir()
    student_copy.write(source, tmp_path / "empty")
    assert (tmp_path / "empty" / "notebooks" / "07.ipynb").exists()


@pytest.mark.verify
def test_the_copy_runs_by_itself(copy: Path, tmp_path: Path) -> None:
    """Its servers start, a lesson runs, and ``make check`` reports on the untouched project."""
    environ = {
        **{name: text for name, text in os.environ.items() if not name.endswith("_URL")},
        "PYTHONPATH": str(copy),
        "SHOP_HOME": str(tmp_path / "shop"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=copy, env=environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    try:
        run("-m", "helpers", "up")
        run("-m", "helpers", "seed")
        run("-m", "jupyter", "execute", "notebooks/00_tour.ipynb")
        report = run("-m", "course.grading.check", f"notebooks/{PROJECT_SOURCE.name}")
        assert "0 of 6 tasks" in report
        where = run("-c", "import helpers, course; print(helpers.__file__, course.__file__)")
        assert where.count(str(copy)) == 2
    finally:
        run("-m", "helpers", "down")
