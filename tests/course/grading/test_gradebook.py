"""The gradebook: a row per student, and what is entered by hand survives every spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from course.grading import gradebook
from course.grading.gradebook import Book, Entered
from course.grading.results import Result, Verdict, points
from course.grading.source import Source
from helpers.errors import GradingError
from tests.course.grading import building

SOURCE: Source = building.source(building.sums())
ALL = {cell.key: Verdict(True) for cell in SOURCE.tests()}
HALF = Result(
    verdicts={**ALL, "a-add-hidden": Verdict(False, "the sum of nothing is 0")},
    texts={"a-add-text": "So it is."},
)
WROTE = Result(verdicts=ALL, texts={"a-add-text": "So it is."})


def _rows(place: Path) -> list[dict[str, str]]:
    with place.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_points_are_the_sum_of_the_passed_tests() -> None:
    assert points(SOURCE, HALF, "a") == 4
    assert points(SOURCE, HALF, "b") == 10
    assert points(SOURCE, Result(), "a") == 0


def _save(place: Path, rows: list[dict[str, str]], separator: str, encoding: str) -> None:
    """Write the gradebook as a spreadsheet does."""
    with place.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], delimiter=separator, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)


def _write(place: Path, results: dict[str, Result], book: Book = Book()) -> None:  # noqa: B008
    gradebook.write(place, SOURCE, results, book)


def test_a_row_has_columns_per_task_and_leaves_manual_points_empty(tmp_path: Path) -> None:
    _write(tmp_path / "grades.csv", {"anna": WROTE, "ben": HALF})
    anna, ben = _rows(tmp_path / "grades.csv")
    assert anna == {
        "student": "anna",
        "a": "10",
        "a by hand": "",
        "a override": "",
        "a comment": "",
        "b": "10",
        "b override": "",
        "b comment": "",
        "automatic": "20",
        "total": "",
        "status": "It ran to its end; 3 of 3 tests passed.",
    }
    assert (ben["a"], ben["automatic"]) == ("4", "14")
    assert ben["status"] == "2 of 3 tests passed; a-add-hidden: the sum of nothing is 0."


def test_an_empty_answer_counts_0_until_points_are_entered(tmp_path: Path) -> None:
    place = tmp_path / "grades.csv"
    results = {"anna": Result(verdicts=ALL, texts={"a-add-text": "  "})}
    _write(place, results)
    (row,) = _rows(place)
    assert (row["a by hand"], row["total"]) == ("", "20")
    row["a by hand"] = "1"
    _save(place, [row], ",", "utf-8")
    _write(place, results, gradebook.read(place, SOURCE))
    assert _rows(place)[0]["total"] == "21"


NAMES = ["anna", "=cmd|' /C calc'!A0", "-cleo", "+1", "@x", "'t Hooft", "007", "1e5", "May 5",
         "TRUE", "2026-05-01", "Zoë Łukasz", "Anna; Ben", 'say "hi", then', "\uff1dA1"]  # fmt: skip


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_entered_points_return_to_their_students(
    tmp_path: Path, separator: str, encoding: str
) -> None:
    place = tmp_path / "grades.csv"
    results = dict.fromkeys(NAMES, WROTE)
    _write(place, results)
    rows = _rows(place)
    for number, row in enumerate(rows):
        row["a by hand"] = ["3.5", "4,5", "1.50", " 2 ", "0", "5,0"][number % 6]
    _save(place, rows, separator, encoding)
    for _ in range(2):
        book = gradebook.read(place, SOURCE)
        assert [entered.points["a-add-text"] for entered in book.entered(NAMES).values()] == [
            [3.5, 4.5, 1.5, 2, 0, 5][number % 6] for number in range(len(NAMES))
        ]
        _write(place, results, book)
        assert gradebook.read(place, SOURCE).separator == separator
    totals = [row["total"] for row in csv.DictReader(
        place.read_text("utf-8-sig").splitlines(), delimiter=separator)]  # fmt: skip
    assert totals[:2] == (["23,5", "24,5"] if separator == ";" else ["23.5", "24.5"])


def test_names_in_the_file_are_neither_formulas_numbers_nor_dates(tmp_path: Path) -> None:
    _write(tmp_path / "grades.csv", dict.fromkeys(NAMES, HALF))
    shown = {row["student"] for row in _rows(tmp_path / "grades.csv")}
    assert {"'=cmd|' /C calc'!A0", "'007", "''t Hooft", "'May 5", "'2026-05-01"} <= shown
    assert {"anna", "Zoë Łukasz"} <= shown
    assert not [name for name in shown if name[0] in "=+-@\uff1d0123456789"]


@pytest.mark.parametrize(
    ("student", "saved"),
    [
        ("007", "7"),
        ("'t Hooft", "t Hooft"),
        ("'t Hooft", "\u2019t Hooft"),
        ("Zoë", "Zoe\u0308"),
        ("TRUE", "True"),
        ("Anna  Berg", "Anna Berg "),
    ],
)
def test_a_name_that_a_spreadsheet_has_changed_is_found(
    tmp_path: Path, student: str, saved: str
) -> None:
    place = tmp_path / "grades.csv"
    _write(place, {student: WROTE, "ben": WROTE})
    rows = _rows(place)
    rows[0] |= {"student": saved, "a by hand": "2"}
    _save(place, rows, ",", "utf-8")
    book = gradebook.read(place, SOURCE)
    assert book.entered([student, "ben"])[student].points == {"a-add-text": 2}
    assert book.unmatched([student, "ben"]) == []


def test_a_changed_name_that_two_students_could_have_is_kept_as_a_row(tmp_path: Path) -> None:
    place = tmp_path / "grades.csv"
    results = {"Anna": WROTE, "anna": WROTE}
    _write(place, results)
    rows = _rows(place)
    rows[0] |= {"student": "ANNA", "a by hand": "2"}
    rows[1] |= {"student": "ANna"}
    _save(place, rows, ",", "utf-8")
    book = gradebook.read(place, SOURCE)
    assert book.unmatched(results) == ["ANNA", "ANna"]
    _write(place, results, book)
    assert [(row["student"], row["a by hand"]) for row in _rows(place)] == [
        ("Anna", ""),
        ("anna", ""),
        ("ANNA", "2"),
        ("ANna", ""),
    ]


def test_rows_and_columns_that_are_not_the_graders_are_kept(tmp_path: Path) -> None:
    place = tmp_path / "grades.csv"
    _write(place, {"anna": WROTE, "ben": WROTE})
    rows = [row | {"met": "yes", "": "x"} for row in _rows(place)]
    rows.append(dict.fromkeys(rows[0], "") | {"student": "cleo", "a by hand": "4", "met": "no"})
    _save(place, rows, ";", "utf-8-sig")
    book = gradebook.read(place, SOURCE)
    assert book.own_columns == ("met", "column 13")
    _write(place, {"ben": HALF}, book)
    kept = list(csv.DictReader(place.read_text("utf-8-sig").splitlines(), delimiter=";"))
    assert [(row["student"], row["met"], row["a by hand"]) for row in kept] == [
        ("ben", "yes", ""),
        ("anna", "yes", ""),
        ("cleo", "no", "4"),
    ]
    assert book.unmatched(["ben"]) == ["anna", "cleo"]


@pytest.mark.parametrize("text", ["two", "nan", "inf", "?", "-1", "5.5", "1_0", "01. Mai", "3 %"])
@pytest.mark.parametrize("column", ["a by hand", "b override"])
def test_points_that_are_not_possible_are_named_and_nothing_is_written(
    tmp_path: Path, text: str, column: str
) -> None:
    place = tmp_path / "grades.csv"
    _write(place, {"anna": WROTE, "=ben": WROTE})
    rows = _rows(place)
    rows[1][column] = text.replace("5.5", "10.5") if column == "b override" else text
    _save(place, rows, ",", "utf-8")
    before = place.read_bytes()
    with pytest.raises(GradingError) as caught:
        gradebook.read(place, SOURCE)
    for part in ("row 3", "=ben", column, rows[1][column], "grades.csv", "from 0 to"):
        assert part in str(caught.value)
    assert place.read_bytes() == before


@pytest.mark.parametrize("column", ["a", "b", "automatic", "total"])
@pytest.mark.parametrize("text", ["9", "9,5", "absent"])
def test_a_computed_number_that_was_replaced_stops_the_run(
    tmp_path: Path, column: str, text: str
) -> None:
    """The next run would compute it again, and what was entered would be lost."""
    place = tmp_path / "grades.csv"
    _write(place, {"anna": WROTE, "ben": WROTE})
    rows = _rows(place)
    rows[1][column] = text
    _save(place, rows, ";", "utf-8")
    with pytest.raises(GradingError, match=f"row 3, ben: '{column}' is '{text}'.* override"):
        gradebook.read(place, SOURCE)


@pytest.mark.parametrize("text", ["10,0", "10.00", "", "10. Mai", "2026-05-10", " 10 "])
def test_a_computed_number_may_look_different(tmp_path: Path, text: str) -> None:
    place = tmp_path / "grades.csv"
    _write(place, {"anna": WROTE})
    rows = _rows(place)
    rows[0]["a"] = text
    _save(place, rows, ",", "utf-8")
    _write(place, {"anna": WROTE}, gradebook.read(place, SOURCE))
    assert _rows(place)[0]["a"] == "10"


def test_a_restored_backup_is_no_entry(tmp_path: Path) -> None:
    place = tmp_path / "grades.csv"
    for result in (HALF, WROTE):
        _write(place, {"anna": result}, gradebook.read(place, SOURCE))
    (backup,) = (tmp_path / "backups").glob("grades-*.csv")
    place.write_bytes(backup.read_bytes())
    _write(place, {"anna": WROTE}, gradebook.read(place, SOURCE))
    assert _rows(place)[0]["a"] == "10"


@pytest.mark.parametrize("crash", [1, 2, 3])
def test_a_write_that_was_killed_is_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    place = tmp_path / "grades.csv"
    _write(place, {"anna": WROTE})
    replaced = Path.replace
    calls = 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == crash:
            raise SystemExit
        return replaced(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(SystemExit):
            _write(place, {"anna": HALF})
    _write(place, {"anna": HALF}, gradebook.read(place, SOURCE))
    assert _rows(place)[0]["a"] == "4"


def test_two_rows_of_one_student_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "grades.csv"
    _write(place, {"anna": WROTE})
    _save(place, _rows(place) * 2, ",", "utf-8")
    with pytest.raises(GradingError, match="rows 2 and 3 are both anna"):
        gradebook.read(place, SOURCE)


def test_an_override_replaces_the_points_of_its_task() -> None:
    entered = Entered({"a-add-text": 3}, {"a": 12.0}, {"a": "Well argued."})
    assert gradebook.total(SOURCE, HALF, entered) == 22
    assert gradebook.total(SOURCE, Result(refusal="Damaged."), entered) is None
    both = Entered(overrides={"a": 12.0, "b": 1.0})
    assert gradebook.row(SOURCE, "x", Result(refusal="Damaged."), both)["total"] == "13"


def test_a_submission_that_was_not_run_has_no_points_yet() -> None:
    row = gradebook.row(SOURCE, "x", Result(refusal="Damaged."))
    assert (row["a"], row["automatic"], row["total"]) == ("", "", "")


@pytest.mark.parametrize("text", [b"", b"name,points\nanna,3\n", b"\xff\xfe,student"])
def test_a_file_that_is_not_a_gradebook_is_not_overwritten(tmp_path: Path, text: bytes) -> None:
    place = tmp_path / "grades.csv"
    place.write_bytes(text)
    with pytest.raises(GradingError, match="is not a gradebook"):
        gradebook.read(place, SOURCE)
    assert gradebook.read(tmp_path / "none.csv", SOURCE) == Book()


def test_each_answer_in_words_has_a_column() -> None:
    made = building.sums()
    made["cells"].append(building.manual("a-more-text", "", 2))
    made["cells"].append(building.manual("c-text", "", 3))
    project = building.source(made)
    assert {column: cell.key for column, cell in gradebook.hand_columns(project).items()} == {
        "a-add-text by hand": "a-add-text",
        "a-more-text by hand": "a-more-text",
        "c by hand": "c-text",
    }


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
