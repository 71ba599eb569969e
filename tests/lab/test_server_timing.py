"""The Server-Timing header: it is parsed exactly, or refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.lab.server_timing import (
    Metric,
    parse_metrics,
    parse_server_timing,
    round_trips_of,
)
from helpers.settings import PROJECT
from helpers.stores.trace import Span

HEADER = (
    'total;dur=12.3, postgresql;dur=2.9;desc="1 round trip", mongodb;dur=5.5;desc="2,000 round '
    'trips", mongodb-1;dur=5.5;start=0.5;desc="find", postgresql-1;dur=2.8;start=0.4;desc="SELECT"'
    ', read-model;desc="0 versions behind"'
)


def test_queries_are_spans_in_the_order_of_their_start() -> None:
    spans = parse_server_timing(HEADER)
    assert [(span.store, span.name) for span in spans] == [
        ("PostgreSQL", "SELECT"),
        ("MongoDB", "find"),
    ]
    assert [span.start_seconds for span in spans] == pytest.approx([0.0004, 0.0005])
    assert [span.end_seconds for span in spans] == pytest.approx([0.0032, 0.006])


def test_metrics_keep_the_order_of_the_header() -> None:
    metrics = parse_metrics(HEADER)
    assert metrics[0] == Metric("total", 12.3 / 1000)
    assert metrics[-1] == Metric("read-model", description="0 versions behind")
    assert len(metrics) == 6


def test_round_trips_are_read_from_the_descriptions() -> None:
    assert round_trips_of(parse_metrics(HEADER)) == {"PostgreSQL": 1, "MongoDB": 2000}
    assert round_trips_of(parse_metrics("redis;dur=1")) == {}


@pytest.mark.parametrize(
    "header",
    ["", "total;dur=3", 'elsewhere-1;dur=1;start=2;desc="x"', "redis-1;dur=1", "redis-x;start=1"],
)
def test_metrics_that_are_not_queries_are_not_spans(header: str) -> None:
    assert parse_server_timing(header) == []


def test_a_query_without_a_duration_ends_at_its_start() -> None:
    assert parse_server_timing("redis-2;start=3;desc=GET") == [
        Span("Redis", "GET", 3 / 1000, 3 / 1000)
    ]


def test_spaces_and_case_are_ignored_and_the_first_duplicate_counts() -> None:
    (metric,) = parse_metrics(' a ; DUR = 2 ;desc="x";dur=3')
    assert metric == Metric("a", 0.002, description="x")


@given(st.text("abc,;=\"\\ äöü'", max_size=30))
def test_quoted_descriptions_are_unquoted(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_metrics(f'a;desc="{quoted}";dur=1, b') == [
        Metric("a", 0.001, None, text),
        Metric("b"),
    ]


@pytest.mark.parametrize(
    "header", ["a b", "a;dur", 'a;desc="x', ";dur=1", "a;dur=-1", "a;dur=nan", "a;dur=x", "a=1"]
)
def test_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="Server-Timing"):
        parse_metrics(header)


def test_parsing_does_not_import_matplotlib() -> None:
    code = "import sys, helpers.lab.server_timing; sys.exit('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False)
    assert done.returncode == 0
