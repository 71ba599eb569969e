"""The gradebook and the feedback pages: a row and a page per student, with untrusted text."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest

from course.grading import feedback, gradebook
from course.grading.results import Result, Verdict, points
from course.grading.source import Source
from course.grading.submissions import collect, text_of_file
from helpers.errors import GradingError
from tests.course.grading import building

SOURCE: Source = building.source(building.sums())
ALL = {cell.key: Verdict(True) for cell in SOURCE.tests()}
HALF = Result(verdicts={**ALL, "a-add-hidden": Verdict(False, "the sum of nothing is 0")})


def _rows(place: Path) -> list[dict[str, str]]:
    with place.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_points_are_the_sum_of_the_passed_tests() -> None:
    assert points(SOURCE, HALF, "a") == 4
    assert points(SOURCE, HALF, "b") == 10
    assert points(SOURCE, Result(), "a") == 0


def test_a_row_has_a_column_per_task_and_leaves_manual_points_empty(tmp_path: Path) -> None:
    results = {"anna": Result(verdicts=ALL), "ben": HALF}
    gradebook.write(tmp_path / "grades.csv", SOURCE, results, {})
    anna, ben = _rows(tmp_path / "grades.csv")
    assert anna == {
        "student": "anna",
        "a": "10",
        "a by hand": "",
        "b": "10",
        "automatic": "20",
        "total": "",
        "status": "It ran to its end; 3 of 3 tests passed.",
    }
    assert (ben["a"], ben["automatic"]) == ("4", "14")
    assert ben["status"] == "2 of 3 tests passed; a-add-hidden: the sum of nothing is 0."


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_points_entered_by_hand_are_kept_and_added(tmp_path: Path, separator: str) -> None:
    place = tmp_path / "grades.csv"
    gradebook.write(place, SOURCE, {"anna": HALF, "ben": HALF, "-cleo": HALF}, {})
    rows = _rows(place)
    for row, given in zip(rows, ("3.5", "4,5", "1"), strict=True):
        row["a by hand"] = given
    with place.open("w", encoding="utf-8-sig", newline="") as file:  # as spreadsheets write it
        writer = csv.DictWriter(file, [*rows[0]], delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    entered = gradebook.entered(place, SOURCE)
    assert entered == {"anna": {"a": "3.5"}, "ben": {"a": "4,5"}, "-cleo": {"a": "1"}}
    results = {"anna": Result(verdicts=ALL), "ben": HALF, "-cleo": HALF, "dora": HALF}
    gradebook.write(place, SOURCE, results, entered)
    assert [(row["a by hand"], row["automatic"], row["total"]) for row in _rows(place)] == [
        ("3.5", "20", "23.5"),
        ("4,5", "14", "18.5"),
        ("1", "14", "15"),
        ("", "14", ""),
    ]


@pytest.mark.parametrize("given", ["two", "nan", "inf", "?"])
def test_an_invalid_number_of_points_is_kept_and_leaves_the_total_empty(given: str) -> None:
    row = gradebook.row(SOURCE, "anna", HALF, {"a": given})
    assert (row["a by hand"], row["total"]) == (given, "")


@pytest.mark.parametrize("text", [b"", b"name,points\nanna,3\n", b"\xff\xfe,student"])
def test_a_file_that_is_not_a_gradebook_is_not_overwritten(tmp_path: Path, text: bytes) -> None:
    place = tmp_path / "grades.csv"
    place.write_bytes(text)
    with pytest.raises(GradingError, match="is not a gradebook"):
        gradebook.entered(place, SOURCE)
    assert gradebook.entered(tmp_path / "none.csv", SOURCE) == {}


def test_names_are_not_formulas(tmp_path: Path) -> None:
    gradebook.write(tmp_path / "grades.csv", SOURCE, {"=HYPERLINK(1)": HALF}, {})
    assert _rows(tmp_path / "grades.csv")[0]["student"] == "'=HYPERLINK(1)"


def test_the_status_is_the_refusal_or_a_summary_on_one_line() -> None:
    assert gradebook.status(Result(refusal="The file is empty.")) == "The file is empty."
    result = Result(
        verdicts=ALL,
        failures={"b-answer": "failed: KeyError: 'x'", "c": "failed: E", "d": "ran for 9 s"},
        events=["d ran for 9 s."],
        notes=["a-test: a locked cell."],
    )
    assert gradebook.status(result) == (
        "d ran for 9 s. b-answer failed: KeyError: 'x' (1 more failed too). a-test: a locked cell."
    )


class _Page(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_explains_failures_and_shows_no_test_code() -> None:
    page = feedback.page(SOURCE, "ben", HALF)
    assert "failed: the sum of nothing is 0" in page
    assert "<h1>Sums</h1>" in page
    assert "A · Add" in page
    assert "14 of 20" in page
    for cell in SOURCE.tests():
        assert not [line for line in cell.text.splitlines() if line in page]


def test_a_page_shows_points_entered_by_hand() -> None:
    assert "up to 5 points" in feedback.page(SOURCE, "ben", HALF)
    page = feedback.page(SOURCE, "ben", HALF, {"a": "3.5"})
    assert "3.5 of 5 points" in page
    assert "<strong>17.5</strong>" in page
    assert "more points" not in page


def test_a_page_escapes_text_of_the_student() -> None:
    bad = "<script>alert(1)</script><img src=x>"
    result = Result(
        verdicts={"a-add-visible": Verdict(False, bad)},
        failures={bad: bad},
        events=[bad],
        notes=[bad],
        texts={"a-add-text": bad},
    )
    page = _Page(feedback.page(SOURCE, bad, result))
    assert not page.tags & {"script", "img"}
    assert page.text.count(bad) >= 6
    assert not _Page(feedback.page(SOURCE, "x", Result(refusal=bad))).tags & {"script"}


def test_submissions_are_notebooks_and_folders_with_one(tmp_path: Path) -> None:
    for name in ("anna.ipynb", "ben/deep/07.ipynb", "cleo/07.ipynb", "cleo/other.ipynb"):
        building.write(building.sums(), tmp_path / name)
    building.write(building.sums(), tmp_path / "cleo/.ipynb_checkpoints/07.ipynb")
    building.write(building.sums(), tmp_path / "dora/one.ipynb")
    building.write(building.sums(), tmp_path / "dora/two.ipynb")
    (tmp_path / "emil").mkdir()
    (tmp_path / "fay.pdf").write_text("%PDF")
    (tmp_path / "gus.ipynb").symlink_to("/etc/passwd")
    (tmp_path / ".DS_Store").write_text("")
    found = {submission.student: submission for submission in collect(tmp_path, "07.ipynb")}
    assert [*found] == ["anna", "ben", "cleo", "dora", "emil", "fay.pdf", "gus.ipynb"]
    assert found["ben"].notebook == tmp_path / "ben/deep/07.ipynb"
    assert found["cleo"].notebook == tmp_path / "cleo/07.ipynb"
    refusals = [found[name].refusal for name in ("dora", "emil", "fay.pdf", "gus.ipynb")]
    assert all(refusals)
    assert len(set(refusals)) == len(refusals)


def test_two_entries_of_one_student_are_refused(tmp_path: Path) -> None:
    building.write(building.sums(), tmp_path / "anna.ipynb")
    building.write(building.sums(), tmp_path / "anna" / "07.ipynb")
    with pytest.raises(GradingError, match="both called anna"):
        collect(tmp_path, "07.ipynb")
    with pytest.raises(GradingError, match="cannot be read"):
        collect(tmp_path / "none", "07.ipynb")


def test_submitted_files_are_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("hä", "utf-8-sig")
    assert text_of_file(tmp_path / "plain") == "hä"
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(51 * 2**20)
    for name, sentence in (
        ("link", "cannot be read"),
        ("none", "cannot be read"),
        ("bytes", "is not text"),
        ("huge", "larger than"),
        ("", "is not a regular file"),
    ):
        with pytest.raises(GradingError, match=sentence):
            text_of_file(tmp_path / name)
