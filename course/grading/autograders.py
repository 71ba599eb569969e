"""Autograders for platforms that grade each submission when it is handed in.

Gradescope runs a zip file: ``setup.sh`` installs, ``run_autograder`` writes
``/autograder/results/results.json`` (https://gradescope-autograders.readthedocs.io/en/latest/specs).
The zip file has the project's source; only instructors can see it there.

Classroom 50 runs ``autograder.py`` in a checkout of the student's repository, which it must leave
with a ``result.json`` (https://github.com/foundation50/classroom50/wiki/Advanced-Autograding). It
publishes the folder of an autograder on GitHub Pages, so this one has the students' version of the
project: it shows what the visible tests say, and the grades come from ``make grade``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course.grading import release
from course.grading.check import is_hidden
from course.grading.grade import Grader
from course.grading.incoming import find_one
from course.grading.results import Result, Verdict
from course.grading.source import Source, SourceCell, read_source
from course.grading.tables import replace_file
from helpers.errors import CourseError, GradingError
from helpers.settings import PROJECT, as_path

_UNFINISHED, _MISTAKE = 1, 2
_PACKAGES = ("course", "helpers")
_HIDDEN = "### BEGIN HIDDEN TESTS"

_SETUP = """\
#!/usr/bin/env bash
# Install the course's dependencies. uv brings its own Python where the system's is too old.
set -euo pipefail
apt-get update
apt-get install --yes --no-install-recommends bubblewrap python3-venv
python3 -m venv /autograder/uv
/autograder/uv/bin/pip install uv
export UV_PYTHON_INSTALL_DIR=/autograder/python
/autograder/uv/bin/uv venv --python 3.12 /autograder/venv
/autograder/uv/bin/uv pip install --python /autograder/venv/bin/python --require-hashes \\
  -r /autograder/source/requirements.txt
"""
_RUN = """\
#!/usr/bin/env bash
# Grade the submission. Without results.json, Gradescope shows that the autograder has failed.
set -euo pipefail
# Each submission has a container here. In it, bubblewrap needs namespaces, which hosts may forbid.
bwrap --unshare-all --ro-bind / / true 2>/dev/null || export ISOLATION=account
chmod 700 /autograder/source/project /autograder/results
cd /autograder/source
exec /autograder/venv/bin/python -m course.grading.autograders gradescope \\
  --source "project/{name}" --submission /autograder/submission \\
  --to /autograder/results/results.json
"""
_CLASSROOM_50 = '''\
"""Run the visible tests of the project on the student's checkout, and write result.json."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE / ".venv" / "bin" / "python"
INSTALL = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", HERE / "requirements.txt"]

subprocess.run([sys.executable, "-m", "venv", HERE / ".venv"], check=True)
subprocess.run([PYTHON, *INSTALL], check=True)
grade = [PYTHON, "-m", "course.grading.autograders", "classroom50"]
grade += ["--source", HERE / "{name}", "--submission", Path.cwd()]
# The machine is the student's for one run, and nothing on it is secret.
environ = {{**os.environ, "PYTHONPATH": str(HERE), "ISOLATION": "none"}}
sys.exit(subprocess.run([*grade, "--to", Path.cwd() / "result.json"], env=environ).returncode)
'''


def pack_gradescope(source: Path, to: Path) -> Path:
    """Write Gradescope's zip file for the project at ``source`` into ``to``; return its path.

    Raises ``GradingError`` if the source is invalid.
    """
    read_source(source)
    files = {
        "setup.sh": _SETUP.encode(),
        "run_autograder": _RUN.format(name=source.name).encode(),
        f"project/{source.name}": source.read_bytes(),
        **{str(file.relative_to(PROJECT)): file.read_bytes() for file in _course()},
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            executable = name in {"setup.sh", "run_autograder"}
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    place = to / "gradescope.zip"
    replace_file(place, data.getvalue())
    return place


def pack_classroom_50(source: Path, to: Path) -> Path:
    """Write Classroom 50's folder for the project at ``source`` into ``to``; return its path.

    Raises ``GradingError`` if the source is invalid.
    """
    folder = to / "classroom50-autograder"
    notebook = release.write(source, folder)
    for file in _course():
        place = folder / file.relative_to(PROJECT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    script = _CLASSROOM_50.format(name=notebook.name)
    (folder / "autograder.py").write_text(script, "utf-8")
    return folder


def _course() -> Iterable[Path]:
    """Yield the files that grading needs, without the project's source."""
    yield PROJECT / "requirements.txt"
    for package in _PACKAGES:
        for file in sorted((PROJECT / package).rglob("*")):
            hidden = any(part.startswith((".", "__pycache__")) for part in file.parts[-2:])
            if file.is_file() and not hidden:
                yield file


def grade_one(source: Path, submission: Path) -> Result:
    """Grade the submission in a folder.

    Raises ``GradingError`` if the grader itself failed: that is not the student's fault.
    """
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        place = Path(folder)
        found = find_one(submission, read_source(source), source.name, place / "unpacked")
        if found.notebook is None:
            return Result(refusal=found.refusal)
        (place / "in").mkdir()
        shutil.copyfile(found.notebook, place / "in" / "submission.ipynb", follow_symlinks=False)
        (result,) = (
            Grader(source, place / "out").grade(place / "in", progress=False).results.values()
        )
    if not result.final:
        raise GradingError(result.refusal)
    return result


def gradescope_results(source: Source, result: Result) -> dict[str, Any]:
    """Return ``results.json``. What hidden tests say is shown when grades are published."""
    tests = [
        {
            "name": test.key,
            "score": test.points if verdict.passed else 0,
            "max_score": test.points,
            "output": verdict.why or ("passed" if verdict.passed else "failed"),
            "visibility": "after_published" if _HIDDEN in test.text else "visible",
        }
        for test, verdict in _verdicts(source.tests(), result)
    ]
    said = [result.refusal, *result.events, *result.notes]
    said += (f"{name} {why}." for name, why in result.failures.items())
    return {
        "score": sum(float(test["score"]) for test in tests),
        "output": "\n".join(filter(None, said)),
        "tests": tests,
    }


def classroom_50_result(
    source: Source, result: Result, environ: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """Return ``result.json``: the visible tests. ``environ`` is what the runner says.

    Raises ``GradingError`` if a variable of the runner is missing, or if points are not integers.
    """
    tests = []
    for test, verdict in _verdicts([t for t in source.tests() if not is_hidden(t)], result):
        if not test.points.is_integer():
            raise GradingError(f"{test.key}: Classroom 50 needs whole points, not {test.points:g}.")
        points = int(test.points)
        score = points if verdict.passed else 0
        tests.append(
            {
                "test-name": test.key,
                "passed": verdict.passed,
                "score": score,
                "max-score": points,
                "output": verdict.why,
            }
        )
    try:
        about = {
            "classroom": environ["CLASSROOM"],
            "assignment": environ["ASSIGNMENT"],
            "assignment_type": environ.get("ASSIGNMENT_TYPE") or "individual",
            "owner": environ.get("OWNER") or environ["USERNAME"],
            "submission": environ["SUBMISSION_TAG"],
            "commit": environ["COMMIT_URL"],
            "release": environ["RELEASE_URL"],
            "review": environ.get("REVIEW_URL") or environ["COMMIT_URL"],
        }
    except KeyError as error:
        raise GradingError(
            f"The environment variable {error} is missing: Classroom 50's runner sets it."
        ) from None
    return {
        "schema": "classroom50/result/v1",
        **about,
        "datetime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "score": sum(test["score"] for test in tests),
        "max-score": sum(test["max-score"] for test in tests),
        "tests": tests,
    }


def _verdicts(tests: Iterable[SourceCell], result: Result) -> Iterable[tuple[SourceCell, Verdict]]:
    missing = Verdict(False, result.refusal or "it was not run")
    return ((test, result.verdicts.get(test.key, missing)) for test in tests)


def main() -> int:
    """Write an autograder, or run as one: ``pack``, ``gradescope``, ``classroom50``."""
    parser = argparse.ArgumentParser(prog="python -m course.grading.autograders")
    parser.add_argument("action", choices=["pack", "gradescope", "classroom50"])
    parser.add_argument("--source", type=as_path, required=True, help="the project's notebook")
    parser.add_argument("--submission", type=as_path, help="the folder that was handed in")
    parser.add_argument("--to", type=as_path, required=True, help="a folder, or the results' file")
    options = parser.parse_args()
    try:
        if options.action == "pack":
            print(f"For Gradescope: {pack_gradescope(options.source, options.to)}.")
            print(f"For Classroom 50: {pack_classroom_50(options.source, options.to)}.")
            return 0
        result = grade_one(options.source, options.submission or Path.cwd())
        source = read_source(options.source)
        if options.action == "gradescope":
            found = gradescope_results(source, result)
        else:
            found = classroom_50_result(source, result, os.environ, datetime.now(UTC))
        replace_file(options.to, json.dumps(found, indent=1).encode())
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE if options.action == "pack" else _UNFINISHED
    return 0


if __name__ == "__main__":
    sys.exit(main())
