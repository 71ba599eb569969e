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


def _submission(student: str, *names: str, feedback: str = "") -> Submission:
    return Submission(student, None, feedback=feedback, names=names or (student,))


def _lines(place: Path) -> list[list[str]]:
    with place.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


ANNA = _submission(
    "Anna Berg (101)",
    "101",
    "Anna Berg",
    feedback="Anna Berg_101_assignsubmission_file/feedback.html",
)
BO = _submission(
    "Bo O'Neil (102)",
    "102",
    "Bo O'Neil",
    feedback="Bo O'Neil_102_assignsubmission_file_/feedback.html",
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


CARL = _submission("carl (103)", feedback="carl_LATE_103_9001_feedback.html")


def test_feedback_is_called_as_the_platform_expects_it(tmp_path: Path) -> None:
    """Moodle takes the second part between underscores for the participant, Canvas the numbers."""
    submissions = [ANNA, BO, CARL, _submission("dora")]
    results = {one.student: WROTE for one in submissions}
    publish(tmp_path, SOURCE, submissions, results)
    with zipfile.ZipFile(tmp_path / "feedback.zip") as archive:
        assert archive.namelist() == [one.feedback for one in (ANNA, BO, CARL)]
        page = archive.read(ANNA.feedback).decode()
    assert page == (tmp_path / "feedback" / "Anna Berg (101).html").read_text("utf-8")
    for one in (ANNA, BO):
        number, plugin = one.names[0], ["assignsubmission", "file"]
        assert one.feedback.split("/")[0].split("_")[1:4] == [number, *plugin]
    assert [part for part in CARL.feedback.split("_") if part.isdigit()] == ["103", "9001"]
    first = (tmp_path / "feedback.zip").read_bytes()
    publish(tmp_path, SOURCE, submissions, results)
    assert (tmp_path / "feedback.zip").read_bytes() == first


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


def test_another_students_number_in_another_column_decides_nothing(tmp_path: Path) -> None:
    """A participant who is not in Moodle's worksheet is not the student of that name or number."""
    text = MOODLE.replace("anna@uni.example", "777").replace("Elle Chou", "Zed")
    roster = _roster(tmp_path, text)
    left = _submission("Zed (777)", "777", "Zed", feedback="Zed_777_assignsubmission_file/x")
    assert roster.matched([left]) == {}
    assert len(roster.matched([_submission("zed")])) == 1


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


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "backups" not in file.parts
    }


def test_a_run_killed_at_any_step_loses_nothing_and_the_next_one_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are replaced by a rename, so a kill is the same as stopping before or after it."""

    def prepared(name: str) -> Path:
        folder = tmp_path / name
        publish(folder, SOURCE, [ANNA, BO], {ANNA.student: WROTE, BO.student: DONE})
        place = folder / "grades.csv"
        rows = place.read_text("utf-8-sig").replace("Anna Berg (101),10,,", "Anna Berg (101),10,4,")
        place.write_text(rows, "utf-8")
        return folder

    new = {ANNA.student: WROTE, BO.student: WROTE, "carl": DONE}
    whole = prepared("whole")
    publish(whole, SOURCE, [ANNA, BO], new)
    assert ",10,4," in (whole / "grades.csv").read_text()
    replaced = Path.replace
    for step in range(20):
        folder = prepared(str(step))
        left = step

        def replace(self: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                raise SystemExit
            return replaced(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            try:
                publish(folder, SOURCE, [ANNA, BO], new)
            except SystemExit:
                assert ",10,4," in (folder / "grades.csv").read_text()
        publish(folder, SOURCE, [ANNA, BO], new)
        assert {n: b for n, b in _files(folder).items() if not n.endswith(".new")} == _files(whole)
    assert left > 0  # all steps were tried
