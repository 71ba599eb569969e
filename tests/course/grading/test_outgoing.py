"""What leaves the grader: files that Moodle and Canvas import, and pages."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest

from course.grading.incoming import Submission
from course.grading.outgoing import Roster, publish, read_roster
from course.grading.results import Result, Verdict
from course.grading.source import Source
from course.grading.tables import read_table
from helpers.errors import GradingError
from tests.course.grading import building

SOURCE: Source = building.source(building.sums())
DONE = Result(verdicts={cell.key: Verdict(True) for cell in SOURCE.tests()})
WROTE = Result(verdicts=DONE.verdicts, texts={"a-add-text": "So it is."})

#: As "Download grading worksheet" of a Moodle assignment.
MOODLE = """\
Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed",\
"Last modified (submission)","Last modified (grade)","Feedback comments"
"Participant 101","Anna Berg",anna@uni.example,"Submitted for grading - ",,25.00,Yes,\
"Monday, 30 November 2026, 10:15 PM",-,
"Participant 102","Bo O'Neil",bo@uni.example,"Submitted for grading - 2 days late",3.00,25.00,Yes,\
"Wednesday, 2 December 2026, 10:15 PM","Thursday, 3 December 2026, 9:00 AM","Good, ""so"" far"
"Participant 103","Elle Chou",elle@uni.example,"No submission - ",,25.00,Yes,-,-,
"""
#: As "Export" of Canvas's gradebook.
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Notes,Homework (11),Sums (12),Final Score
,,,,,,Manual Posting,,
    Points Possible,,,,,,10.00,25.00,(read only)
"Berg, Anna",101,s-1,anna,DB 1,,9.00,,80
"O'Neil, Bo",102,s-2,bo,DB 1,late,8.00,3.00,70
"""


def _roster(tmp_path: Path, text: str, assignment: str = "") -> Roster:
    (tmp_path / "roster.csv").write_text(text, "utf-8-sig")
    return read_roster(tmp_path / "roster.csv", SOURCE, assignment)


def _submission(student: str, *names: str, folder: str = "") -> Submission:
    return Submission(student, None, folder=folder, names=names or (student,))


def _lines(place: Path) -> list[list[str]]:
    with place.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


ANNA = _submission(
    "Anna Berg (101)", "101", "Anna Berg", folder="Anna Berg_101_assignsubmission_file"
)
BO = _submission(
    "Bo O'Neil (102)", "102", "Bo O'Neil", folder="Bo O'Neil_102_assignsubmission_file_"
)


def test_moodles_worksheet_gets_the_complete_grades_and_is_otherwise_unchanged(
    tmp_path: Path,
) -> None:
    roster = _roster(tmp_path, MOODLE)
    results = {ANNA.student: DONE, BO.student: WROTE}
    said = publish(tmp_path, SOURCE, [ANNA, BO], results, roster)
    before, after = _lines(tmp_path / "roster.csv"), _lines(tmp_path / "moodle-grades.csv")
    before[0][0] = before[0][0].removeprefix("\ufeff")
    before[1][4] = "20"
    assert after == before
    assert said == [
        "In the roster, but without a submission: Elle Chou.",
        "Points are incomplete, so moodle-grades.csv has no new grade: Bo O'Neil (102).",
    ]
    (row,) = (r for r in _lines(tmp_path / "grades.csv") if r[0].startswith("Bo"))
    assert row[-1].endswith("Moodle says: Submitted for grading - 2 days late.")


def test_moodles_feedback_has_the_folders_of_its_export(tmp_path: Path) -> None:
    """Moodle takes the second part between underscores for the participant."""
    submissions = [ANNA, BO, _submission("carl")]
    results = {one.student: WROTE for one in submissions}
    publish(tmp_path, SOURCE, submissions, results)
    with zipfile.ZipFile(tmp_path / "moodle-feedback.zip") as archive:
        assert archive.namelist() == [f"{one.folder}/feedback.html" for one in (ANNA, BO)]
        page = archive.read(f"{ANNA.folder}/feedback.html").decode()
    assert page == (tmp_path / "feedback" / "Anna Berg (101).html").read_text("utf-8")
    for name in archive.namelist():
        assert name.split("/")[0].split("_")[1:4] == [
            name.split("_")[1],
            "assignsubmission",
            "file",
        ]
        assert name.split("_")[1].isdigit()
    first = (tmp_path / "moodle-feedback.zip").read_bytes()
    publish(tmp_path, SOURCE, submissions, results)
    assert (tmp_path / "moodle-feedback.zip").read_bytes() == first


@pytest.mark.parametrize("separator", [",", ";"])
def test_canvas_gets_its_students_and_the_assignments_column(
    tmp_path: Path, separator: str
) -> None:
    text = "\n".join(
        separator.join(f'"{cell}"' for cell in line) for line in csv.reader(CANVAS.splitlines())
    )
    roster = _roster(tmp_path, text)
    submissions = [_submission("berganna (101)", "101", "berganna"), _submission("bo")]
    said = publish(tmp_path, SOURCE, submissions, {s.student: DONE for s in submissions}, roster)
    assert _lines(tmp_path / "canvas-grades.csv") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Sums (12)"],
        ["", "", "", "", "", ""],
        ["    Points Possible", "", "", "", "", "25.00"],
        ["Berg, Anna", "101", "s-1", "anna", "DB 1", "20"],
        ["O'Neil, Bo", "102", "s-2", "bo", "DB 1", "20"],
    ]
    assert said == []


def test_canvass_column_is_the_projects_or_the_named_one(tmp_path: Path) -> None:
    other = CANVAS.replace("Sums (12)", "Big project (12)")
    with pytest.raises(GradingError, match=r"Homework \(11\), Big project \(12\).*ASSIGNMENT"):
        _roster(tmp_path, other)
    assert _roster(tmp_path, other, "big project").assignment == "Big project (12)"


@pytest.mark.parametrize("text", [MOODLE.replace("25.00", "10.00"), CANVAS.replace("25.00", "10")])
def test_another_maximum_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(GradingError, match="at most 10 points, and the project has 25"):
        _roster(tmp_path, text)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "Student,ID\n,\n"])
def test_a_list_without_students_is_no_roster(tmp_path: Path, text: str) -> None:
    with pytest.raises(GradingError, match="no column that identifies"):
        _roster(tmp_path, text)
    with pytest.raises(GradingError, match="ROSTER"):
        read_roster(tmp_path / "none.csv", SOURCE)


@pytest.mark.parametrize(
    ("header", "row", "names"),
    [
        ("identifier,github_username,github_id,name", "a@b,anna-b,17,Anna", "project-anna-b"),
        ("username,first_name,last_name,email", "anna,Anna,Berg,x@y", "cs-project-anna"),
        ("username,first_name,last_name,email", "zz,Anna,Berg,x@y", "Anna Berg"),
        ("First Name,Last Name,SID,Email", "Anna,Berg,007,a@b", "7"),
        ("First Name,Last Name,SID,Email", "Anna,Berg,1,anna@b", "ANNA@b"),
        ("name;email;id", "Anna;anna@b;1", "anna"),
    ],
)
def test_students_are_found_by_id_user_name_address_or_name(
    tmp_path: Path, header: str, row: str, names: str
) -> None:
    separator = ";" if ";" in header else ","
    other = separator.join(f"other{number}" for number in range(header.count(separator) + 1))
    (tmp_path / "roster.csv").write_text(f"{header}\n{other}\n{row}\n")
    roster = Roster(read_table(tmp_path / "roster.csv"))
    submission = _submission(names)
    assert roster.matched([submission, _submission("nobody else")]) == {3: submission}


def test_a_full_name_that_two_students_have_decides_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,name\n1,Anna Berg\n2,Anna Berg\n3,Bo\n")
    roster = Roster(read_table(tmp_path / "r.csv"))
    submissions = [_submission("Anna Berg"), _submission("Bo")]
    assert roster.matched(submissions) == {4: submissions[1]}
    said = publish(tmp_path, SOURCE, submissions, {s.student: DONE for s in submissions}, roster)
    assert said == [
        "In no row of the roster: Anna Berg.",
        "In the roster, but without a submission: Anna Berg, Anna Berg.",
    ]


def test_every_student_has_a_page_and_every_question(tmp_path: Path) -> None:
    names = ["anna", "a/b", "=x", "n" * 100]
    publish(tmp_path, SOURCE, [], dict.fromkeys(names, WROTE))
    assert len(list((tmp_path / "feedback").iterdir())) == len(names)
    assert [page.name for page in (tmp_path / "questions").iterdir()] == ["a by hand.html"]


def test_nothing_is_written_if_points_are_not_numbers(tmp_path: Path) -> None:
    publish(tmp_path, SOURCE, [], {"anna": WROTE})
    place = tmp_path / "grades.csv"
    place.write_text(place.read_text("utf-8-sig").replace("anna,10,,", "anna,10,much,"))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(GradingError, match="row 2, anna"):
        publish(tmp_path, SOURCE, [], {"anna": DONE})
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
