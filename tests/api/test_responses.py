"""JSON responses: ETag, compression, ``Server-Timing``."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from helpers.api.responses import JSONBody, accepts_gzip, etag_matches, server_timing
from helpers.stores.trace import Trace


@pytest.mark.parametrize(
    ("header", "accepted"),
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
        ("x-gzip", True),
        ("GZip;Q=0.1", True),
        ("identity;q=1, gzip;q=0.1", False),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("identity;q=0.5, *;q=0.1", False),
    ],
)
def test_accept_encoding_decides_whether_gzip_is_used(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ("", False),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"abc-gzip"', True),
        ('"x", "abc"', True),
        ("*", True),
        ("abc", False),
        ('"abcd"', False),
        ('"a,b", W/"abc"', True),
        ('w/"abc"', False),
    ],
)
def test_if_none_match_matches_both_forms_of_an_etag(header: str, matches: bool) -> None:
    assert etag_matches(header, "abc") is matches


@pytest.mark.parametrize("length", [10, 100_000])
def test_a_body_has_one_etag_and_one_compressed_form(length: int) -> None:
    body, other = JSONBody(b"a" * length), JSONBody(b"b" * length)
    zipped = asyncio.run(body.compressed())
    assert gzip.decompress(zipped) == body.content
    assert asyncio.run(body.compressed()) is zipped
    assert asyncio.run(JSONBody(b"a" * length).compressed()) == zipped, "deterministic"
    assert body.etag == JSONBody(b"a" * length).etag != other.etag


def test_server_timing_has_a_sum_per_store_and_the_start_of_each_request() -> None:
    trace = Trace()
    began = trace.beginning - 0.001
    for store, name in (("PostgreSQL", "SELECT"), ("Redis", "MGET"), ("Redis", "MGET")):
        trace.begin(store, name).extend()  # type: ignore[arg-type]
    entries = server_timing(trace, began, shared=True).split(", ")
    names = [entry.partition(";")[0] for entry in entries]
    assert names == ["postgresql", "redis", "shared", "postgresql-1", "redis-1", "redis-2"]
    assert 'desc="2 round trips"' in entries[1]
    assert all(float(entry.split("start=")[1].split(";")[0]) >= 1 for entry in entries[3:])


def test_server_timing_lists_the_first_requests_and_counts_all() -> None:
    trace = Trace()
    for _ in range(2000):
        trace.begin("MongoDB", "find").extend()
    timing = server_timing(trace, trace.beginning)
    assert 'desc="2000 round trips"' in timing
    assert timing.count("start=") == 24
    assert len(timing) < 4096
