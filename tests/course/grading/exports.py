"""Submissions in the shapes in which learning platforms export them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from course.grading.incoming import Submission, collect
from course.grading.release import released
from course.grading.source import Source
from course.grading.submissions import text_of_file
from tests.course.grading import building

SOURCE: Source = building.source(building.sums())
PROJECT = "07.ipynb"

#: Names of files, and their contents.
Files = dict[str, bytes]


def work(name: str) -> bytes:
    """A submission of the project that says whose it is."""
    made = building.changed(released(SOURCE), a_add_text=f"by {name}")
    return json.dumps(made).encode()


def zipped(files: Files, *, when: int = 2026) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (when, 1, 1, 0, 0, 0)), content)
    return data.getvalue()


def lay_out(files: Files, folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def as_folder(files: Files, place: Path) -> Path:
    return lay_out(files, place / "handed in")


def as_zip(files: Files, place: Path) -> Path:
    (place / "export").write_bytes(zipped(files))  # whatever its name
    return place / "export"


def as_zip_of_a_folder(files: Files, place: Path) -> Path:
    inside = {f"course-assignment-123/{name}": content for name, content in files.items()}
    return as_zip(inside, place)


def as_zip_in_a_folder(files: Files, place: Path) -> Path:
    return lay_out({"export.zip": zipped(files), "students.csv": b"name"}, place / "handed in")


def collected(place: Path, tmp_path: Path) -> dict[str, Submission]:
    found = collect(place, SOURCE, PROJECT, tmp_path / "unpacked")
    assert len({one.student for one in found}) == len(found)
    return {one.student: one for one in found}


def authors(found: dict[str, Submission]) -> dict[str, str]:
    """Return who wrote the notebook of each student, or the reason for having none."""
    return {
        student: one.refusal
        or text_of_file(one.notebook or Path()).partition('"by ')[2].partition('"')[0]
        for student, one in found.items()
    }


MOODLE = {
    "Anna Berg_101_assignsubmission_file/07.ipynb": work("anna"),
    "Bo O'Neil-Sø_102_assignsubmission_file_/deep/mine.ipynb": work("bo"),
    "Bo O'Neil-Sø_102_assignsubmission_onlinetext/onlinetext.html": b"<p>See the file.</p>",
    "Anna Berg_103_assignsubmission_file/all.zip": zipped({"x/07.ipynb": work("other anna")}),
    "Participant_104_assignsubmission_file_/notes.docx": b"PK",
}
MOODLE_FLAT = {
    "Anna Berg_101_assignsubmission_file_07.ipynb": work("anna"),
    "Mallory_105_assignsubmission_file_Anna Berg_101_assignsubmission_file_x.ipynb": work("m"),
}
CANVAS = {
    "berganna_101_9001_07.ipynb": work("anna, first"),
    "berganna_101_9010_07-1.ipynb": work("anna"),
    "neilbo_LATE_102_9002_my_07_2.ipynb": work("bo"),
    "chouelle_103_9003_project.zip": zipped({"07.ipynb": work("elle"), "other.ipynb": b"{}"}),
    "mallory_104_9004_berganna_101_9999_07.ipynb": work("m"),
    "doe_105_9005_text.html": b"<p>",
    "roe_106_9006_data.csv": b"1,2",
}
CANVAS_ANONYMOUS = {
    "anon_aB3xY_9001_07.ipynb": work("x"),
    "LATE_anon_qqqqq_9002_07.ipynb": work("y"),
}
GRADESCOPE = {
    "submission_metadata.yml": b"""\
---
submission_301:
  :submitters:
  - :name: Anna Berg
    :sid: '007'
    :email: anna@uni.example
  :created_at: 2026-11-30 22:15:00.000000000 Z
  :score: 0.0
  :status: processed
  :history: []
submission_302:
  :submitters:
  - :name: Bo
    :sid:
    :email: bo@uni.example
  - :name: Elle
    :sid: 9
    :email: elle@uni.example
  :created_at: 2026-11-30 22:16:00.000000000 Z
""",
    "submission_301/07.ipynb": work("anna"),
    "submission_302/work/07.ipynb": work("bo and elle"),
    "submission_302/metadata.txt": b"",
}
REPOSITORIES = {
    "project-anna/.git/HEAD": b"ref: refs/heads/main",
    "project-anna/07.ipynb": work("anna"),
    "project-anna/old/notes.ipynb": b"{}",
    "project-bo-b/.git": b"gitdir: ../x",
    "project-bo-b/.github/x.ipynb": b"{}",
}
CLASSROOM_50 = {
    "scores.csv": b"username,score",
    "cs-project-anna/.classroom50.yaml": b"classroom: cs",
    "cs-project-anna/07.ipynb": work("anna"),
    "cs-project-anna/result.json": b'{"datetime": "2026-11-30T22:15:01Z"}',
    "cs-project-bo/.classroom50.yaml": b"classroom: cs",
}
PLAIN = {
    "anna.ipynb": work("anna"),
    "bo/deep/07.ipynb": work("bo"),
    "cleo.zip": zipped({"cleo/07.ipynb": work("cleo"), "cleo/other.ipynb": b"{}"}),
    "fay.pdf": b"%PDF",
}
NO_NOTEBOOK = "There is no notebook in the submitted folder."
