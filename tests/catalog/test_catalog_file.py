"""Import of a catalogue file: every valid line is read, every problem reported by line."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.catalog.catalog_file import read_catalog
from helpers.catalog.model import Product, price_text
from helpers.errors import CatalogError, CourseError, QueryError
from helpers.joins import Query

GOOD: dict[str, Any] = {
    "id": 7,
    "name": "Desk",
    "price": "99.90",
    "category": "furniture",
    "metadata": {"description": "A desk", "tags": ["home"], "specifications": {"legs": 4}},
    "stock": "5",
}


def _write(path: Path, *lines: object) -> Path:
    file = path / "catalog.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", "utf-8")
    return file


def _problems(path: Path, *lines: object) -> list[tuple[int, str, str]]:
    with pytest.raises(CatalogError) as caught:
        read_catalog(_write(path, *lines))
    return [(problem.line, problem.field, problem.reason) for problem in caught.value.problems]


def test_a_line_in_the_format_of_the_api_is_read(tmp_path: Path) -> None:
    assert read_catalog(_write(tmp_path, GOOD)) == [
        Product(7, "Desk", Decimal("99.90"), "furniture", GOOD["metadata"], 5)
    ]


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"metadata": None}, "metadata", None),
        ({"stock": None}, "stock", None),
        ({"stock": 0}, "stock", 0),
        ({"stock": "0"}, "stock", 0),
        ({"price": 0}, "price", Decimal(0)),
        ({"price": "-0"}, "price", Decimal(0)),
        ({"price": 9.99}, "price", Decimal("9.99")),
        ({"price": "1e3"}, "price", Decimal(1000)),
        ({"price": "19.990"}, "price", Decimal("19.990")),
        ({"price": "0.00"}, "price", Decimal("0.00")),
        ({"stock": 10**9}, "stock", 10**9),
        ({"id": 2**53 - 1}, "id", 2**53 - 1),
        ({"name": "x" * 500}, "name", "x" * 500),
        ({"metadata": {"a": -(2**53 - 1)}}, "metadata", {"a": -(2**53 - 1)}),
        (
            {"metadata": {"specifications": {"Größe (cm)": 12.5}, "sizes": {"a.b": 1}}},
            "metadata",
            {"specifications": {"Größe (cm)": 12.5}, "sizes": {"a.b": 1}},
        ),
        ({"name": "Çay 茶 🍵"}, "name", "Çay 茶 🍵"),
        ({"metadata": {"reviews": [{"stars": 5}]}}, "metadata", {"reviews": [{"stars": 5}]}),
        ({"metadata": {}}, "metadata", {}),
        ({"category": None}, "category", "uncategorised"),
    ],
)
def test_optional_and_alternative_values_are_accepted(
    change: dict[str, Any], field: str, value: object, tmp_path: Path
) -> None:
    (product,) = read_catalog(_write(tmp_path, GOOD | change))
    assert getattr(product, field) == value


def test_missing_metadata_and_stock_are_read_as_null(tmp_path: Path) -> None:
    (product,) = read_catalog(_write(tmp_path, {"id": 1, "name": "X", "price": 1}))
    assert (product.metadata, product.stock, product.category) == (None, None, "uncategorised")


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ('{"id": 1, "name"', "line", "is not JSON"),
        ("[1, 2]", "line", "is not a JSON object"),
        ("null", "line", "is not a JSON object"),
        ('{"id": 1, "price": NaN}', "line", "NaN"),
        ("[" * 100_000, "line", "is not JSON"),
        (GOOD | {"id": None}, "id", "is missing"),
        ({key: GOOD[key] for key in GOOD if key != "id"}, "id", "is missing"),
        (GOOD | {"id": "7"}, "id", 'should be a valid integer, not "7"'),
        (GOOD | {"id": True}, "id", "should be a valid integer, not true"),
        (GOOD | {"id": 7.0}, "id", "should be a valid integer, not 7.0"),
        (GOOD | {"id": 0}, "id", "should be greater than or equal to 1, not 0"),
        (GOOD | {"id": 2**53}, "id", "should be less than or equal to 9007199254740991, not "),
        (GOOD | {"brand": "Ikea"}, "brand", "is not a field of a product: move it into metadata"),
        (GOOD | {"bra\x1bnd": 1}, "bra\N{REPLACEMENT CHARACTER}nd", "is not a field of a product"),
        (GOOD | {"name": "x" * 501}, "name", "should have at most 500 characters"),
        (GOOD | {"name": None}, "name", "is missing"),
        (GOOD | {"name": ""}, "name", "should have at least 1 character"),
        (GOOD | {"name": 5}, "name", "should be a valid string, not 5"),
        (GOOD | {"name": "a\0b"}, "name", "NUL"),
        (GOOD | {"name": "a\ud800b"}, "name", "surrogate"),
        (GOOD | {"category": ["x"]}, "category", "should be a valid string"),
        (GOOD | {"price": None}, "price", "is missing"),
        (GOOD | {"price": -5}, "price", "should be greater than or equal to 0, not -"),
        (GOOD | {"price": "-0.01"}, "price", "should be greater than or equal to 0"),
        (GOOD | {"price": "cheap"}, "price", "should be a valid number, not "),
        (GOOD | {"price": "1_000"}, "price", "should be a valid number, not "),
        (GOOD | {"price": "Infinity"}, "price", "should be a valid number, not "),
        (GOOD | {"price": True}, "price", "should be a valid number, not "),
        (GOOD | {"price": [1]}, "price", "should be a valid number, not "),
        (GOOD | {"price": "1e400"}, "price", "should be less than 1000000000000000"),
        (GOOD | {"price": "1e15"}, "price", "should be less than 1000000000000000"),
        (GOOD | {"price": "1e-400"}, "price", "no more than 10 decimal places"),
        (GOOD | {"stock": 1.5}, "stock", "should be a valid integer, not "),
        (GOOD | {"stock": "1.5"}, "stock", "should be a valid integer, not "),
        (GOOD | {"stock": "many"}, "stock", "should be a valid integer, not "),
        (GOOD | {"stock": -1}, "stock", "should be greater than or equal to 0"),
        (GOOD | {"stock": "-1"}, "stock", "should be greater than or equal to 0"),
        (GOOD | {"stock": 10**9 + 1}, "stock", "less than or equal to 1000000000, not 1000000001"),
        (GOOD | {"stock": 2**53 + 1}, "stock", "1000000000, not 9007199254740993"),
        (GOOD | {"stock": str(2**53 + 1)}, "stock", "less than or equal to 1000000000"),
        (GOOD | {"stock": "9" * 5000}, "stock", "should be a valid integer, not "),
        (GOOD | {"stock": False}, "stock", "should be a valid integer, not "),
        (GOOD | {"stock": ""}, "stock", "should be a valid integer, not "),
        (GOOD | {"metadata": "x"}, "metadata", "should be a valid dictionary"),
        (GOOD | {"metadata": {"_id": 1}}, "metadata._id", "the shop reserves"),
        (GOOD | {"metadata": {"product_id": 1}}, "metadata.product_id", "the shop reserves"),
        (
            GOOD | {"metadata": {"schema_version": 1}},
            "metadata.schema_version",
            "the shop reserves",
        ),
        (
            GOOD | {"metadata": {"description": 5}},
            "metadata.description",
            "should be a valid string",
        ),
        (GOOD | {"metadata": {"tags": "x"}}, "metadata.tags", "should be a valid list"),
        (GOOD | {"metadata": {"tags": [1]}}, "metadata.tags.0", "should be a valid string"),
        (
            GOOD | {"metadata": {"specifications": []}},
            "metadata.specifications",
            "valid dictionary",
        ),
        (GOOD | {"metadata": {"a": {"$gt": 1}}}, "metadata.a.$gt", "MongoDB reserves"),
        (GOOD | {"metadata": {"a": [2**53]}}, "metadata.a.0", "9007199254740991, so JavaScript"),
        (GOOD | {"metadata": {"a": -(2**53)}}, "metadata.a", "write it as a string"),
        (json.dumps(GOOD | {"metadata": {"a": 5}}).replace("5}", "1e400}"), "metadata.a", "large"),
        (json.dumps(GOOD).replace('"5"', "9" * 5000), "line", "a number has too many digits"),
        (GOOD | {"metadata": {"tags": ["a", ""]}}, "metadata.tags.1", "1 to 200 characters"),
        (GOOD | {"metadata": {"tags": ["x" * 201]}}, "metadata.tags.0", "not 201"),
        (GOOD | {"metadata": {"tags": ["a\tb"]}}, "metadata.tags.0", "U+0009"),
        (
            GOOD | {"metadata": {"specifications": {"a.b": 1}}},
            "metadata.specifications.a.b",
            "is a name that has a $ or a dot, so that no filter can name it",
        ),
        (
            GOOD | {"metadata": {"specifications": {"": 1}}},
            "metadata.specifications.",
            "is a name that should have 1 to 200 characters",
        ),
        (GOOD | {"metadata": {"a": "\udc00"}}, "metadata.a", "surrogate"),
        (GOOD | {"metadata": {"a\0": 1}}, "metadata.a\N{REPLACEMENT CHARACTER}", "NUL"),
        (GOOD | {"metadata": {"a": "x" * 17_000_000}}, "metadata", "too large"),
    ],
)
def test_an_invalid_line_is_reported_with_line_field_and_reason(
    line: object, field: str, reason: str, tmp_path: Path
) -> None:
    (problem,) = _problems(tmp_path, GOOD | {"id": 100}, line)
    assert problem[:2] == (2, field)
    assert reason in problem[2]


def test_metadata_that_is_nested_too_deep_is_reported(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(95):
        deep = {"a": deep}
    (problem,) = _problems(tmp_path, GOOD | {"metadata": deep})
    assert "levels deep" in problem[2]


def test_every_problem_of_every_line_is_reported_at_once(tmp_path: Path) -> None:
    found = _problems(
        tmp_path, GOOD, "{", "", GOOD | {"price": -1, "stock": "x"}, {"id": 8, "name": "Only"}
    )
    assert [(line, field) for line, field, _ in found] == [
        (2, "line"),
        (4, "price"),
        (4, "stock"),
        (4, "id"),
        (5, "price"),
    ]


def test_a_duplicate_id_is_reported_with_the_line_of_the_first(tmp_path: Path) -> None:
    ((line, field, reason),) = _problems(tmp_path, GOOD, GOOD | {"id": 8}, GOOD)
    assert (line, field) == (3, "id")
    assert "7 is on line 1 already" in reason


def test_a_file_that_is_not_utf8_is_reported_by_line(tmp_path: Path) -> None:
    file = tmp_path / "latin1.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": 2, "name": "Caf\xe9", "price": 1}\n')
    with pytest.raises(CatalogError, match="line 2: line: is not UTF-8"):
        read_catalog(file)


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "windows.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n")
    assert [product.id for product in read_catalog(file)] == [7]


@pytest.mark.parametrize("name", ["nowhere.jsonl", "."])
def test_a_file_that_cannot_be_read_raises_course_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="cannot be read"):
        read_catalog(tmp_path / name)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.dictionaries(st.sampled_from([*GOOD, "extra"]), _JSON) | _JSON, max_size=5))
def test_any_json_is_read_completely_or_reported(tmp_path: Path, records: list[object]) -> None:
    """Whatever the lines contain, all products are returned or all problems raised."""
    lines = [json.dumps(record) for record in (GOOD, *records)]
    try:
        products = read_catalog(_write(tmp_path, *lines))
    except CatalogError as error:
        assert error.problems
        assert all(2 <= problem.line <= len(lines) for problem in error.problems)
    else:
        assert len(products) == len(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("0.1", "0.1"), ("1e2", "100"), ("19.990", "19.990"), ("-0.00", "0.00"), ("0e5", "0")),
        *(("123456789012.34", "123456789012.34"), ("99999999999999.9999999999",) * 2),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_price_keeps_its_digits(quoted: bool, text: str, expected: str, tmp_path: Path) -> None:
    price = json.dumps(text) if quoted else text
    line = f'{{"id": 1, "name": "A", "price": {price}, "metadata": {{"weight": 19.990}}}}'
    (product,) = read_catalog(_write(tmp_path, line))
    assert price_text(product.price) == expected
    assert repr(product.metadata) == "{'weight': 19.99}"


CATEGORIES = {
    "a no-break space": ("Home\u00a0& Garden", None),
    "200 characters": ("x" * 200, None),
    "other scripts and symbols": ("Möbel 家具 ☕", None),
    "201 characters": ("x" * 201, "should have 1 to 200 characters, not 201"),
    "9,000 characters": ("".join(chr(0x4E00 + n) for n in range(9000)), "not 9000"),
    "a line break": ("Home\nGarden", "has the character U+000A, which cannot be printed"),
    "a zero-width space": ("Home\u200b", "has the character U+200B, which cannot be printed"),
    "nothing": ("", "should have 1 to 200 characters, not 0"),
}


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_or_tag_that_loads_is_one_that_a_filter_accepts(
    tmp_path: Path, category: str
) -> None:
    """Else the facets would offer a category or a tag that no query can name."""
    value, problem = CATEGORIES[category]
    record = {"id": 1, "name": "A", "price": 1, "category": value, "metadata": {"tags": [value]}}
    if problem is None:
        (product,) = read_catalog(_write(tmp_path, record))
        assert (product.category, product.metadata) == (value, {"tags": [value]})
        assert Query(category=value, tags=[value]).category == value
    else:
        found = _problems(tmp_path, record)
        assert [field for _, field, _ in found] == ["category", "metadata.tags.0"]
        assert all(problem in reason for _, _, reason in found)
        with pytest.raises(QueryError, match=re.escape(problem)):
            Query(category=value)
