"""Autograders: the files that Gradescope and Classroom 50 expect, and no secrets in public ones."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from course.grading import autograders
from course.grading.autograders import classroom_50_result, gradescope_results
from course.grading.release import released
from course.grading.results import Result, Verdict
from course.grading.source import Source
from helpers.errors import GradingError
from tests.course.grading import building

SOURCE: Source = building.source(building.sums())
HALF = Result(
    verdicts={
        "a-add-visible": Verdict(True),
        "a-add-hidden": Verdict(False, "the sum of nothing is 0"),
        "b-greatest-test": Verdict(True),
    },
    failures={"own cell 1": "failed: KeyError"},
)
NOW = datetime(2026, 11, 30, 22, 15, 1, tzinfo=UTC)
RUNNER = {
    "CLASSROOM": "db",
    "ASSIGNMENT": "project",
    "ASSIGNMENT_TYPE": "individual",
    "OWNER": "anna",
    "USERNAME": "anna",
    "SUBMISSION_TAG": "submit/2026-11-30T22-15-01Z-a1b2c3d",
    "COMMIT_URL": "https://github.com/o/r/commit/1",
    "RELEASE_URL": "https://github.com/o/r/releases/tag/1",
}

_POINTS = {"type": "number", "minimum": 0}
_VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
#: https://gradescope-autograders.readthedocs.io/en/latest/specs, "Output format".
GRADESCOPE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [{"required": ["score"]}, {"required": ["tests"]}],
    "properties": {
        "score": _POINTS,
        "execution_time": {"type": "number"},
        "output": {"type": "string"},
        "visibility": _VISIBILITY,
        "stdout_visibility": _VISIBILITY,
        "extra_data": {"type": "object"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["score"],
                "properties": {
                    "score": _POINTS,
                    "max_score": _POINTS,
                    "name": {"type": "string"},
                    "number": {"type": "string"},
                    "output": {"type": "string"},
                    "tags": {"type": "array"},
                    "visibility": _VISIBILITY,
                    "extra_data": {"type": "object"},
                },
            },
        },
    },
}
_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_UTC = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_RESULT: dict[str, Any] = {
    "schema": {"const": "classroom50/result/v1"},
    "assignment_type": {"enum": ["individual", "group"]},
    "submission": {"type": "string", "pattern": "^submit/"},
    **dict.fromkeys(("classroom", "assignment", "owner", "commit", "release", "review"), _TEXT),
    "datetime": _UTC,
    **dict.fromkeys(("score", "max-score"), _COUNT),
    "tests": {
        "type": "array",
        "items": {
            "required": ["test-name", "passed", "score", "max-score"],
            "properties": {
                "test-name": _TEXT,
                "passed": {"type": "boolean"},
                "score": _COUNT,
                "max-score": _COUNT,
            },
        },
    },
}
#: Classroom 50's wiki, "The result.json contract", and its schemas/result-v1.schema.json.
CLASSROOM_50: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [*_RESULT],
    "properties": {**_RESULT, "graded_at": _UTC, "submitted_by": {"type": "object"}},
}


def errors(document: object, schema: dict[str, Any]) -> list[str]:
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("result", [HALF, Result(), Result(refusal="The file is empty.")])
def test_gradescopes_results_follow_its_specification(result: Result) -> None:
    found = gradescope_results(SOURCE, result)
    assert errors(found, GRADESCOPE) == []
    assert errors({**found, "points": 1}, GRADESCOPE)
    json.dumps(found, allow_nan=False)


def test_gradescope_shows_hidden_tests_when_grades_are_published() -> None:
    found = gradescope_results(SOURCE, HALF)
    assert [(t["name"], t["score"], t["max_score"], t["visibility"]) for t in found["tests"]] == [
        ("a-add-visible", 4, 4, "visible"),
        ("a-add-hidden", 0, 6, "after_published"),
        ("b-greatest-test", 10, 10, "after_published"),
    ]
    assert found["score"] == 14
    assert found["output"] == "own cell 1 failed: KeyError."


@pytest.mark.parametrize("result", [HALF, Result(), Result(refusal="The file is empty.")])
def test_classroom_50s_result_follows_its_contract(result: Result) -> None:
    found = classroom_50_result(building.source(released(SOURCE)), result, RUNNER, NOW)
    assert errors(found, CLASSROOM_50) == []
    assert errors({**found, "score": 1.5}, CLASSROOM_50)
    assert found["score"] <= found["max-score"] == 14


def test_classroom_50_counts_visible_tests_only() -> None:
    """A hidden test is empty in the students' version, and would pass for everyone."""
    found = classroom_50_result(building.source(released(SOURCE)), HALF, RUNNER, NOW)
    assert [test["test-name"] for test in found["tests"]] == ["a-add-visible", "b-greatest-test"]
    assert found["datetime"] == "2026-11-30T22:15:01Z"


def test_classroom_50_needs_its_runner_and_whole_points() -> None:
    environ = {name: text for name, text in RUNNER.items() if name != "COMMIT_URL"}
    with pytest.raises(GradingError, match="'COMMIT_URL' is missing"):
        classroom_50_result(SOURCE, HALF, environ, NOW)
    made = building.sums()
    building.find(made, "a-add-visible")["metadata"]["nbgrader"]["points"] = 1.5
    with pytest.raises(GradingError, match=r"whole points, not 1\.5"):
        classroom_50_result(building.source(made), HALF, RUNNER, NOW)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of a small project."""
    return building.write(building.sums(), tmp_path / "source" / "07.ipynb")


def test_gradescopes_zip_has_its_scripts_at_the_root(tmp_path: Path, source: Path) -> None:
    place = autograders.pack_gradescope(source, tmp_path / "out")
    with zipfile.ZipFile(place) as archive:
        names = set(archive.namelist())
        modes = {name: archive.getinfo(name).external_attr >> 16 for name in names}
        for name in ("setup.sh", "run_autograder"):
            assert modes[name] & stat.S_IXUSR
            text = archive.read(name).decode()
            assert text.startswith("#!/usr/bin/env bash\n")
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        assert "/autograder/results/results.json" in archive.read("run_autograder").decode()
        assert archive.read("project/07.ipynb") == source.read_bytes()
    assert {"requirements.txt", "course/grading/autograders.py", "helpers/errors.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]
    first = place.read_bytes()
    assert autograders.pack_gradescope(source, tmp_path / "out").read_bytes() == first


def test_classroom_50s_folder_is_public_so_it_has_no_hidden_test(
    tmp_path: Path, source: Path
) -> None:
    folder = autograders.pack_classroom_50(source, tmp_path / "out")
    files = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}
    assert {Path("autograder.py"), Path("07.ipynb"), Path("requirements.txt")} <= files.keys()
    compile(files[Path("autograder.py")].read_text(), "autograder.py", "exec")
    texts = [file.read_text("utf-8", "replace") for file in files.values()]
    for secret in ("add([41, -20])", "Because addition", "greatest([-5, -7])"):
        assert not [text for text in texts if secret in text]
    # The runner downloads at most 10 MB.
    assert sum(file.stat().st_size for file in files.values()) < 10_000_000


def _run(action: str, source: Path, folder: Path, to: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "course.grading.autograders", action, "--source", source,
         "--submission", folder, "--to", to],
        env={**os.environ, **RUNNER}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.verify
def test_both_run_as_on_their_platforms(tmp_path: Path, source: Path) -> None:
    handed_in = tmp_path / "submission"
    building.write(building.solved(building.sums(), tasks="b"), handed_in / "work" / "07.ipynb")
    done = _run("gradescope", source, handed_in, tmp_path / "results" / "results.json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "results" / "results.json").read_text())
    assert (errors(found, GRADESCOPE), found["score"]) == ([], 10)

    folder = autograders.pack_classroom_50(source, tmp_path / "out")
    done = _run("classroom50", folder / "07.ipynb", handed_in, tmp_path / "result.json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "result.json").read_text())
    assert (errors(found, CLASSROOM_50), found["score"], found["max-score"]) == ([], 10, 14)


def test_a_folder_without_a_notebook_gets_no_points_and_a_reason(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "submission").mkdir()
    to = tmp_path / "results.json"
    arguments = ["--source", str(source), "--submission", str(tmp_path / "submission")]
    monkeypatch.setattr("sys.argv", ["autograders", "gradescope", *arguments, "--to", str(to)])
    assert autograders.main() == 0
    found = json.loads(to.read_text())
    assert (found["score"], "no notebook" in found["output"]) == (0, True)


def test_a_failure_of_the_grader_is_never_a_grade(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(autograders, "find_one", lambda *_: _fail())
    to = tmp_path / "results.json"
    arguments = ["--source", str(source), "--submission", str(tmp_path), "--to", str(to)]
    monkeypatch.setattr("sys.argv", ["autograders", "gradescope", *arguments])
    assert autograders.main() == 1
    assert not to.exists()
    assert capsys.readouterr().err == "The disk is full.\n"


def _fail() -> None:
    raise GradingError("The disk is full.")
