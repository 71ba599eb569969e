"""Submissions that are damaged, hostile or odd: they are listed, and the others are collected."""

from __future__ import annotations

import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from helpers.errors import GradingError
from tests.course.grading.exports import (
    NO_NOTEBOOK,
    as_folder,
    as_zip,
    authors,
    collected,
    lay_out,
    work,
    zipped,
)


def _encrypted() -> bytes:
    data = bytearray(zipped({"07.ipynb": work("x")}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def _linked() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        info = zipfile.ZipInfo("07.ipynb")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return data.getvalue()


def _bomb() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("07.ipynb", bytes(60 * 2**20))
    return data.getvalue()


def _nested(depth: int) -> bytes:
    data = zipped({"07.ipynb": work("x")})
    for _ in range(depth):
        data = zipped({"more.zip": data})
    return data


def _compressed(kind: int) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", kind) as archive:
        archive.writestr("07.ipynb", work("x"))
    return data.getvalue()


ODD: dict[str, tuple[bytes, str]] = {
    "damaged": (b"PK\x03\x04 and no more", "is not a zip file, or is damaged"),
    "empty": (zipped({}), NO_NOTEBOOK),
    "encrypted": (_encrypted(), "encrypted"),
    "link": (_linked(), "is a link"),
    "bomb": (_bomb(), "larger than 50 MiB"),
    "nested": (_nested(5), "more than 3 zip files"),
    "lzma": (_compressed(zipfile.ZIP_LZMA), "unusual way"),
    "cut": (zipped({"07.ipynb": work("x")})[:-30], "is not a zip file, or is damaged"),
    "corrupt": (zipped({"07.ipynb": work("x")}).replace(b"by x", b"by y"), "is damaged"),
    "many": (zipped({}) + b"PK\x01\x02" * 100_001, "more than 100000 files"),
    "upward": (zipped({"../../up.ipynb": work("upward"), "/abs.txt": b""}), ""),
    "deep": (zipped({"a/" * 200 + "07.ipynb": work("deep")}), ""),
    "deeper": (zipped({"a/" * 400 + "07.ipynb": work("x")}), "more than 300 levels"),
    "long": (zipped({"n" * 60_000 + ".ipynb": work("long")}), ""),
    "both": (zipped({"x": b"", "x/07.ipynb": work("x")}), NO_NOTEBOOK),
    "impostor": (zipped({"anna_1_assignsubmission_file/07.ipynb": work("impostor")}), ""),
}


def test_one_odd_submission_never_stops_the_others(tmp_path: Path) -> None:
    place = as_folder({f"{name}.zip": data for name, (data, _) in ODD.items()}, tmp_path)
    lay_out({"anna.ipynb": work("anna"), "clash.ipynb": b"", "clash/07.ipynb": b""}, place)
    (place / "emil").mkdir()
    os.mkfifo(place / "fifo.ipynb")
    (place / "gus.ipynb").symlink_to("/etc/passwd")
    (place / "hal").symlink_to(place / "anna.ipynb")
    (place / "loop").mkdir()
    (place / "loop" / "again").symlink_to(place / "loop")
    if sys.platform == "linux":  # macOS allows no such name
        (place / os.fsdecode(b"odd\xff.ipynb")).write_bytes(work("odd"))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    found = authors(collected(place, tmp_path))
    for name, (_, refusal) in ODD.items():
        assert (refusal or name) in found[name], name
    assert found["anna"] == "anna"
    assert found.get("odd?", "odd") == "odd"
    for name, part in (
        ("clash", "several submissions of this name"),
        ("emil", NO_NOTEBOOK),
        ("fifo", "not a regular file"),
        ("gus", "is a link"),
        ("hal", "is a link"),
        ("loop", "is a link"),
    ):
        assert part in found[name]
    # Nothing was written outside the folder for unpacked notebooks.
    new = {path.name for path in tmp_path.rglob("*")} - set(before)
    assert new == {"unpacked", "upward.ipynb", "deep.ipynb", "long.ipynb", "impostor.ipynb"}


def test_names_of_any_length_become_files(tmp_path: Path) -> None:
    long = "L" * 300_000
    metadata = f"submission_1:\n  :submitters:\n  - :name: {long}\n    :sid: ../../{long}\n"
    files = {"submission_metadata.yml": metadata.encode(), "submission_1/07.ipynb": work("long")}
    (student,) = (found := collected(as_zip(files, tmp_path), tmp_path))
    assert len(student) < 200
    assert authors(found) == {student: "long"}


@pytest.mark.parametrize(
    ("content", "why"), [(b"- [", "cannot be read"), (b"x: 1", "cannot be read")]
)
def test_damaged_metadata_are_an_error(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(GradingError, match=why):
        collected(
            as_zip({"submission_metadata.yml": content, "x/07.ipynb": b""}, tmp_path), tmp_path
        )
