"""Submissions as learning platforms export them, and as students pack them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.errors import GradingError
from tests.course.grading import building
from tests.course.grading.exports import (
    CANVAS,
    CANVAS_ANONYMOUS,
    CLASSROOM_50,
    GRADESCOPE,
    MOODLE,
    MOODLE_FLAT,
    NO_NOTEBOOK,
    PLAIN,
    REPOSITORIES,
    Files,
    as_folder,
    as_zip,
    as_zip_in_a_folder,
    as_zip_of_a_folder,
    authors,
    collected,
    lay_out,
    work,
    zipped,
)


@pytest.mark.parametrize(
    "packed", [as_folder, as_zip, as_zip_of_a_folder, as_zip_in_a_folder], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            MOODLE,
            {
                "Anna Berg (101)": "anna",
                "Anna Berg (103)": "other anna",
                "Bo O'Neil-Sø (102)": "bo",
                "Participant (104)": f"{NO_NOTEBOOK} It has only notes.docx.",
            },
        ),
        (MOODLE_FLAT, {"Anna Berg (101)": "anna", "Mallory (105)": "m"}),
        (
            CANVAS,
            {
                "berganna (101)": "anna",
                "chouelle (103)": "elle",
                "doe (105)": "The submission is not a notebook.",
                "mallory (104)": "m",
                "neilbo (102)": "bo",
                "roe (106)": "The submission is not a notebook.",
            },
        ),
        (CANVAS_ANONYMOUS, {"anonymous (anon_aB3xY)": "x", "anonymous (anon_qqqqq)": "y"}),
        (
            GRADESCOPE,
            {
                "Anna Berg (007)": "anna",
                "Bo (bo@uni.example)": "bo and elle",
                "Elle (9)": "bo and elle",
            },
        ),
    ],
    ids=["moodle", "moodle-flat", "canvas", "canvas-anonymous", "gradescope"],
)
def test_exports_are_recognized(
    tmp_path: Path,
    files: Files,
    expected: dict[str, str],
    packed: Callable[[Files, Path], Path],
) -> None:
    found = collected(packed(files, tmp_path), tmp_path)
    assert authors(found) == expected


@pytest.mark.parametrize("packed", [as_folder, as_zip], ids=lambda f: f.__name__)
@pytest.mark.parametrize("parent", ["", "project-submissions/"])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (REPOSITORIES, {"project-anna": "anna", "project-bo-b": NO_NOTEBOOK}),
        (
            CLASSROOM_50,
            {"cs-project-anna": "anna", "cs-project-bo": NO_NOTEBOOK},
        ),
        (
            PLAIN,
            {
                "anna": "anna",
                "bo": "bo",
                "cleo": "cleo",
                "fay.pdf": "The submission is not a notebook.",
            },
        ),
    ],
    ids=["repositories", "classroom-50", "plain"],
)
def test_repositories_and_plain_folders_are_recognized(
    tmp_path: Path,
    files: Files,
    expected: dict[str, str],
    packed: Callable[[Files, Path], Path],
    parent: str,
) -> None:
    if parent and files is PLAIN and packed is as_folder:
        parent = ""  # a folder of one folder is one student's
    files = {f"{parent}{name}": content for name, content in files.items()}
    assert authors(collected(packed(files, tmp_path), tmp_path)) == expected


def test_what_the_platform_says_is_noted(tmp_path: Path) -> None:
    canvas = collected(as_folder(CANVAS, tmp_path / "c"), tmp_path)
    assert canvas["neilbo (102)"].notes == ("Canvas says that it is late.",)
    assert canvas["berganna (101)"].notes == (
        "Of 2 notebooks, berganna_101_9010_07-1.ipynb counts: it is the latest.",
    )
    moodle = collected(as_folder(MOODLE, tmp_path / "m"), tmp_path)
    assert moodle["Anna Berg (101)"].feedback == (
        "Anna Berg_101_assignsubmission_file/feedback.html"
    )
    assert moodle["Anna Berg (101)"].names == ("101", "Anna Berg")
    flat = collected(as_folder(MOODLE_FLAT, tmp_path / "f"), tmp_path)
    assert flat["Anna Berg (101)"].feedback == (
        "Anna Berg_101_assignsubmission_file_/feedback.html"
    )
    assert canvas["neilbo (102)"].feedback == "neilbo_LATE_102_9002_feedback.html"
    classroom_50 = collected(as_folder(CLASSROOM_50, tmp_path / "c50"), tmp_path)
    assert classroom_50["cs-project-anna"].notes == ("Submitted 2026-11-30T22:15:01Z.",)
    gradescope = collected(as_zip(GRADESCOPE, tmp_path), tmp_path)
    assert gradescope["Elle (9)"].notes == ("Submitted 2026-11-30 22:16+00:00.",)
    assert gradescope["Elle (9)"].names == ("9", "elle@uni.example", "Elle")


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"[1]", b'{"datetime": "<b>"}', b"\xff"])
def test_a_result_that_a_student_made_up_says_nothing(tmp_path: Path, content: bytes) -> None:
    files = {**CLASSROOM_50, "cs-project-anna/result.json": content}
    found = collected(as_folder(files, tmp_path), tmp_path)
    assert (found["cs-project-anna"].notes, authors(found)["cs-project-anna"]) == ((), "anna")


def test_the_latest_of_two_exports_counts(tmp_path: Path) -> None:
    name = "Anna Berg_101_assignsubmission_file/07.ipynb"
    place = lay_out(
        {
            "1.zip": zipped({name: work("new")}, when=2026),
            "2.zip": zipped({name: work("old")}, when=2025),
        },
        tmp_path / "handed in",
    )
    found = collected(place, tmp_path)
    assert authors(found) == {"Anna Berg (101)": "new"}
    assert "it is the latest" in found["Anna Berg (101)"].notes[0]


def test_the_latest_version_counts_and_other_notebooks_do_not(tmp_path: Path) -> None:
    files = {
        "anna/07.ipynb": work("first"),
        "anna/07 (1).ipynb": work("second"),
        "anna/07-Copy1.ipynb": work("copy"),
        "anna/lesson.ipynb": b"{}",
        "bo/mine.ipynb": work("bo"),
        "bo/lesson.ipynb": json.dumps(building.notebook()).encode(),
        "cleo/x.ipynb": work("x"),
        "cleo/y.ipynb": work("y"),
    }
    place = as_folder(files, tmp_path)
    now = time.time()
    for number, name in enumerate(("07.ipynb", "07-Copy1.ipynb", "07 (1).ipynb", "lesson.ipynb")):
        os.utime(place / "anna" / name, (now, now + 100 * number))
    for name in ("x", "y"):
        os.utime(place / "cleo" / f"{name}.ipynb", (now, now))
    assert authors(collected(place, tmp_path)) == {
        "anna": "second",
        "bo": "bo",
        "cleo": "There are 2 notebooks: which one is it?",
    }


JUNK = ("__MACOSX/._07.ipynb", "._07.ipynb", "Thumbs.db", "desktop.ini", ".DS_Store",
        ".ipynb_checkpoints/07-checkpoint.ipynb", ".git/x.ipynb")  # fmt: skip


@pytest.mark.parametrize("packed", [as_folder, as_zip], ids=lambda f: f.__name__)
def test_junk_is_ignored_everywhere(tmp_path: Path, packed: Callable[[Files, Path], Path]) -> None:
    files = dict.fromkeys((*JUNK, *(f"anna/{name}" for name in JUNK)), b"junk")
    files |= {"anna/07.ipynb": work("anna"), "bo.ipynb": work("bo")}
    assert authors(collected(packed(files, tmp_path), tmp_path)) == {"anna": "anna", "bo": "bo"}


def test_a_place_that_is_neither_folder_nor_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    for name in ("text", "none"):
        with pytest.raises(GradingError, match="SUBMISSIONS"):
            collected(tmp_path / name, tmp_path)


def test_an_empty_folder_has_no_submissions(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert collected(tmp_path / "empty", tmp_path) == {}
