"""Answers as they are sent: tags, compression, timing."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from helpers.api.responses import Content, accepts_gzip, matches
from helpers.api.timing_header import server_timing
from helpers.stores.trace import Trace


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*", True),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("identity", False),
        ("gzip;q=much", False),
        ("xgzip", False),
    ],
)
def test_only_who_asks_for_gzip_gets_it(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


@pytest.mark.parametrize(
    ("header", "same"),
    [
        ("", False),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"abc-gzip"', True),
        ('"x", "abc"', True),
        ("*", True),
        ("abc", False),
        ('"abcd"', False),
    ],
)
def test_a_client_has_what_it_names(header: str, same: bool) -> None:
    assert matches(header, "abc") is same


@pytest.mark.parametrize("length", [10, 100_000])
def test_content_has_one_tag_and_one_compressed_form(length: int) -> None:
    content, other = Content(b"a" * length), Content(b"b" * length)
    zipped = asyncio.run(content.compressed())
    assert gzip.decompress(zipped) == content.body
    assert asyncio.run(content.compressed()) is zipped
    assert asyncio.run(Content(b"a" * length).compressed()) == zipped, "the same bytes each time"
    assert content.tag == Content(b"a" * length).tag != other.tag


def test_timing_has_a_sum_for_each_store_and_its_questions_with_their_beginnings() -> None:
    trace = Trace()
    began = trace.beginning - 0.001
    for store, name in (("PostgreSQL", "SELECT"), ("Redis", "MGET"), ("Redis", "MGET")):
        trace.begin(store, name).extend()  # type: ignore[arg-type]
    entries = server_timing(trace, began, shared=True).split(", ")
    names = [entry.partition(";")[0] for entry in entries]
    assert names == ["postgresql", "redis", "shared", "postgresql-1", "redis-1", "redis-2"]
    assert 'desc="2 round trips"' in entries[1]
    assert all(float(entry.split("start=")[1].split(";")[0]) >= 1 for entry in entries[3:])


def test_of_many_questions_the_first_are_listed_and_all_are_counted() -> None:
    trace = Trace()
    for _ in range(2000):
        trace.begin("MongoDB", "find").extend()
    timing = server_timing(trace, trace.beginning)
    assert 'desc="2000 round trips"' in timing
    assert timing.count("start=") == 24
    assert len(timing) < 4096
