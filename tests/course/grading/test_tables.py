"""Tables as spreadsheets write them, and files that a crash leaves either old or new."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from course.grading.tables import (
    back_up,
    comparable,
    file_name,
    harmless,
    original,
    read_table,
    replace_file,
    safe_text,
    to_csv,
)
from helpers.errors import GradingError
from tests.waiting import wait_until


@given(st.text(min_size=1, max_size=20))
@example("'t Hooft")
@example("''")
@example("=1+1")
@example("007")
def test_harmless_is_reversible_and_never_a_formula(name: str) -> None:
    assert original(harmless(name)) == name
    assert not harmless(name).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_however_a_spreadsheet_wrote_it(
    tmp_path: Path, encoding: str, separator: str, end: str
) -> None:
    rows = [{"student": "Zoë", "note": f'two{separator} "lines"\nhere'}, {"student": "ben"}]
    text = to_csv(["student", "note"], rows, separator).replace("\n", end)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / "t.csv")
    assert (table.columns, table.separator) == (("student", "note"), separator)
    assert [row["student"] for row in table.rows.values()] == ["Zoë", "ben"]
    assert [*table.rows] == [2, 3]


def test_excels_hint_blank_rows_and_unnamed_columns_are_understood(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nstudent;;\n;;\nanna;x,1;\n")
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("student", "column 2")
    assert table.rows == {4: {"student": "anna", "column 2": "x,1"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [("a,a\n1,2\n", "two columns called 'a'"), ('a\n"' + "x" * 200_000, "not a CSV")],
)
def test_a_table_that_would_lose_cells_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(GradingError, match=why):
        read_table(tmp_path / "t.csv")


def test_names_become_distinct_file_names() -> None:
    names = ["a", "a/b", "a_b", "../x", "..", "x" * 300, "x" * 299, "A?", "CON.", "a (1)"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all("/" not in name and not name.startswith(".") and len(name) < 100 for name in files)
    assert file_name("a (1)") == "a (1)"


def test_names_can_be_printed_and_compared() -> None:
    assert safe_text("a\ud800\n\x1b[31m") == "a???[31m"
    assert safe_text("Zoe\u0308") == "Zoë"
    assert len(safe_text("x" * 300_000)) == 100
    assert comparable(" \u2019T  HOOFT") == comparable("'t Hooft")
    assert comparable("0") == "0"


def test_each_content_is_backed_up_once(tmp_path: Path) -> None:
    place, backups = tmp_path / "grades.csv", tmp_path / "backups"
    for content in (b"1", b"1", b"2", b"3", b"3"):
        replace_file(place, content)
        os.utime(place, (1e9, 1e9))
        back_up(place, backups)
    assert sorted(file.read_bytes() for file in backups.iterdir()) == [b"1", b"2", b"3"]
    assert (backups / "grades-2001-09-09-014640.csv").read_bytes() == b"1"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backups", "grades.csv"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place = tmp_path / "grades.csv"
    place.write_bytes(b"old")

    def crash(*_: object) -> None:
        raise SystemExit(step)

    with monkeypatch.context() as patch:
        patch.setattr({"fsync": os, "replace": Path}[step], step, crash)
        with pytest.raises(SystemExit):
            replace_file(place, b"new")
    assert place.read_bytes() == b"old"
    replace_file(place, b"new")
    assert place.read_bytes() == b"new"


_WRITER = """
import itertools, pathlib, sys
from course.grading.tables import replace_file
place = pathlib.Path(sys.argv[1])
for number in itertools.count():
    replace_file(place, f"{number} ".encode() * 20_000)
"""


@pytest.mark.verify
def test_a_writer_killed_at_any_moment_leaves_one_whole_content(tmp_path: Path) -> None:
    place = tmp_path / "grades.csv"
    for _ in range(5):
        place.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(place)]) as writer:
            try:
                wait_until(place.exists)
            finally:
                writer.kill()
        assert len(set(place.read_text().split())) == 1
        assert len(place.read_text().split()) == 20_000
