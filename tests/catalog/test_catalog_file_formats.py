"""A catalogue in any of the usual formats is read, or refused with the way out."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from helpers.catalog.catalog_file import read_catalog
from helpers.catalog.model import Product
from helpers.errors import CatalogError, CourseError
from tests.catalog.test_catalog_file import GOOD


def _file(folder: Path, text: str) -> Path:
    file = folder / "catalog.jsonl"
    file.write_text(text, "utf-8")
    return file


OTHER = GOOD | {"id": 8, "name": "Çay"}
SHAPES: dict[str, bytes] = {
    "lines": "\n".join([json.dumps(GOOD), "", json.dumps(OTHER, ensure_ascii=False)]).encode(),
    "lines that end in CR": b"\r".join([json.dumps(GOOD).encode(), json.dumps(OTHER).encode()]),
    "an array": json.dumps([GOOD, OTHER]).encode(),
    "an array over several lines": json.dumps([GOOD, OTHER], indent=2).encode(),
    "an object with the array products": json.dumps(
        {"products": [GOOD, OTHER], "total": 2}, indent=1
    ).encode(),
    "the same on one line": json.dumps({"products": [GOOD, OTHER], "total": 2}).encode(),
}
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "UTF-8": bytes,
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "UTF-16 without a byte order mark": lambda content: content.decode().encode("utf-16-le"),
    "gzip": gzip.compress,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_of_a_usual_shape_is_read(shape: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "catalog"
    file.write_bytes(ENCODINGS[encoding](SHAPES[shape]))
    assert [(product.id, product.name) for product in read_catalog(file)] == [
        (7, "Desk"),
        (8, "Çay"),
    ]


def test_one_product_over_several_lines_is_read(tmp_path: Path) -> None:
    assert len(read_catalog(_file(tmp_path, json.dumps(GOOD, indent=2)))) == 1


def test_problems_of_a_document_are_reported_by_product(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        read_catalog(_file(tmp_path, json.dumps([GOOD, 5, GOOD, GOOD | {"price": "x"}], indent=1)))
    assert str(caught.value).splitlines()[1:] == [
        "  product 2: product: is not a JSON object",
        "  product 3: id: 7 is on product 1 already",
        '  product 4: price: should be a valid number, not "x"',
        "  product 4: id: 7 is on product 1 already",
    ]


@pytest.mark.parametrize("count", [20, 21, 5000])
def test_the_message_has_the_first_20_problems(count: int, tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        read_catalog(_file(tmp_path, json.dumps(GOOD) + "\n{" * count))
    assert len(caught.value.problems) == count
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"catalog.jsonl: {count} problems, nothing was loaded.")
    assert lines[20].startswith("  line 21: line: is not JSON")
    assert lines[21:] == ([] if count == 20 else [f"  … and {count - 20} more"])


FORMATS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "has no products"),
    "blank lines": (b"\n \r\n", "has no products"),
    "an empty array": (b"[]", "has no products"),
    "an array that is cut off": (
        json.dumps([GOOD, OTHER], indent=2).encode()[:-40],
        "Correct it there.",
    ),
    "objects over several lines": (
        b"\n".join(json.dumps(product, indent=2).encode() for product in (GOOD, OTHER)),
        "Write each object on one line: jq -c . ",
    ),
    "latin-1": ("id,name\n1,Caf\xe9\n".encode("latin-1"), "is not text in UTF-8: convert it"),
    "a ZIP file": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff\xd8", "is not text in UTF-8"),
    "half of a gzip file": (gzip.compress(b"[]" * 99)[:-9], "compressed by gzip, but damaged"),
    "half of a character in UTF-16": (b"\xff\xfe{\x00\x00\xd8", "is not text in UTF-8"),
    "prose": (b"Products of 2026\nDesk\n", "is not JSON. If it is CSV"),
}


@pytest.mark.parametrize("shape", FORMATS)
def test_another_format_is_one_sentence_with_the_way_out(shape: str, tmp_path: Path) -> None:
    content, expected = FORMATS[shape]
    file = tmp_path / "catalog"
    file.write_bytes(content)
    with pytest.raises(CourseError) as caught:
        read_catalog(file)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file_is_converted_by_the_command_in_the_message(
    delimiter: str, tmp_path: Path
) -> None:
    file = tmp_path / "it's mine.csv"
    rows = [
        ["id", "name", "price", "category", "stock"],
        ["7", 'Desk "A", oak', "19.990", "x", "5"],
    ]
    with file.open("w", encoding="utf-8-sig", newline="") as opened:
        csv.writer(opened, delimiter=delimiter).writerows(rows)
    with pytest.raises(CourseError) as caught:
        read_catalog(file)
    command = str(caught.value).partition("convert it: python")[2]
    subprocess.run([f"{sys.executable}{command}"], shell=True, cwd=tmp_path, check=True)
    assert read_catalog(tmp_path / "it's mine.jsonl") == [
        Product(7, 'Desk "A", oak', Decimal("19.990"), "x", None, 5)
    ]


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """As in ``--file <(zcat products.jsonl.gz)``."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(json.dumps(GOOD).encode()))
    writer.start()
    assert len(read_catalog(pipe)) == 1
    writer.join()
