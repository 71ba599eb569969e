"""Query strings: what becomes a query, and what is refused by name."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.api.cursors import decode, encode
from helpers.api.query_parameters import (
    facets_query,
    no_query,
    page_query,
    path_id,
    read_pairs,
    specification_value,
)
from helpers.errors import QueryError
from helpers.joins import Query
from helpers.metadata.filters import Between


def _query(text: str) -> Query:
    return page_query(read_pairs(text.encode()))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("limit=5", Query(limit=5)),
        ("ids=3,1,3", Query(ids=[1, 3])),
        ("ids=", Query(ids=[])),
        ("category=laptop", Query(category="laptop")),
        ("category=%C3%BC%20%C3%9F", Query(category="ü ß")),
        ("tag=gift&tag=new", Query(tags=["gift", "new"])),
        ("in_stock=true", Query(in_stock=True)),
        ("in_stock=false", Query()),
        ("spec.ram=16GB", Query(specifications={"ram": "16GB"})),
        ("spec.bulb.watts=9", Query(specifications={"bulb.watts": 9})),
        (f"cursor={encode(24)}&limit=2", Query(after=24, limit=2)),
        ("tag=a+b", Query(tags=["a b"])),
    ],
)
def test_parameters_become_a_query(text: str, query: Query) -> None:
    found = _query(text)
    assert found == query
    assert dict(found.specifications) == dict(query.specifications)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("-2", -2),
        ("1.5", 1.5),
        ("true", True),
        ("false", False),
        ("16GB", "16GB"),
        ("016", "016"),
        ("1e3", "1e3"),
        ('"16"', "16"),
        ('"', '"'),
        ("8..32", Between(8, 32)),
        ("8..", Between(8, None)),
        ("..1.5", Between(None, 1.5)),
        ("..", ".."),
        ("a..b", "a..b"),
        ("٣", "٣"),
    ],
)
def test_a_specification_is_asked_for_by_its_type(text: str, value: object) -> None:
    found = specification_value("spec.x", text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("colour=red", "the query", "unknown parameter 'colour'"),
        ("Category=laptop", "the query", "unknown parameter"),
        ("limit=0", "limit", "from 1 to 1000"),
        ("limit=1001", "limit", "from 1 to 1000"),
        ("limit=", "limit", "no whole number"),
        ("limit=1&limit=2", "limit", "more than once"),
        ("limit=%2B5", "limit", "no whole number"),
        ("limit=٣", "the query", "no UTF-8"),
        ("limit=%D9%A3", "limit", "no whole number"),
        ("limit=99999999999999999999", "limit", "no whole number"),
        ("ids=1,,2", "ids", "no whole number"),
        ("ids=0", "ids", "invalid product id"),
        ("ids=9999999999999999999", "ids", "invalid product id"),
        ("ids=" + ",".join(map(str, range(1, 1002))), "ids", "more than 1000"),
        ("in_stock=yes", "in_stock", "neither true nor false"),
        ("in_stock=True", "in_stock", "neither true nor false"),
        ("category=", "category", "not a string"),
        ("category=a%00b", "category", "cannot be printed"),
        ("category=a%0d%0aX-Evil:%201", "category", "cannot be printed"),
        ("tag=", "tag.0", "empty"),
        ("spec.=1", "spec", "which no specification has"),
        ("spec.$where=1", "spec", "which no specification has"),
        ("spec.a.$gt=1", "spec", "which no specification has"),
        ("spec.ram[$ne]=1", "spec", "which no specification has"),
        ("spec.ram=", "spec.ram", "has no value"),
        ('spec.ram=""', "spec.ram", "has no value"),
        ("spec.ram=1&spec.ram=2", "spec.ram", "more than once"),
        ("category[$ne]=x", "the query", "unknown parameter"),
        ("category=%ff", "the query", "no UTF-8"),
        ("cursor=abc", "cursor", "none of ours"),
        ("&".join(f"tag={n}" for n in range(21)), "tag", "more than 20"),
        ("&".join(f"tag={n}" for n in range(101)), "the query", "more than 100"),
    ],
)
def test_what_is_wrong_is_refused_with_its_name(text: str, field: str, words: str) -> None:
    with pytest.raises(QueryError) as refused:
        page_query(read_pairs(text.encode()))
    assert refused.value.field == field
    assert words in str(refused.value)


def test_facets_know_no_pages() -> None:
    assert facets_query([("category", "lamp"), ("spec.dimmable", "true")]).category == "lamp"
    with pytest.raises(QueryError, match="unknown parameter 'limit'"):
        facets_query([("limit", "3")])
    with pytest.raises(QueryError, match="There is none here"):
        no_query([("limit", "3")])


@given(st.lists(st.tuples(st.text(), st.text()), max_size=8))
def test_whatever_is_asked_is_a_query_or_refused(pairs: list[tuple[str, str]]) -> None:
    text = urlencode(pairs, errors="surrogatepass", quote_via=quote)
    try:
        _query(text)
    except QueryError as error:
        assert error.field


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_read_or_refused(raw: bytes) -> None:
    try:
        page_query(read_pairs(raw))
    except QueryError as error:
        assert error.field


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_says_where_the_page_begins(after: int) -> None:
    assert decode(encode(after)) == after


@given(st.integers(0, 2**63 - 1), st.integers(0, 17), st.sampled_from("AZaz09-_=+/ é"))
def test_a_cursor_that_was_changed_is_refused(after: int, place: int, letter: str) -> None:
    cursor = encode(after)
    changed = cursor[:place] + letter + cursor[place + 1 :]
    if changed != cursor:
        with pytest.raises(QueryError, match="cursor is none of ours"):
            decode(changed)


@pytest.mark.parametrize("text", ["", "A" * 17, "A" * 18, "A" * 19, "é" * 18, "0", "\0" * 18])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="Follow the address in the Link header"):
        decode(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("0", None),
        ("-1", None),
        ("01", None),
        ("1.0", None),
        ("١", None),
        ("", None),
    ],
)
def test_an_id_in_a_path_is_a_whole_number_above_zero(text: str, number: int | None) -> None:
    assert path_id(text) == number
