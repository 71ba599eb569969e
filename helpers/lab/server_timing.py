"""Parse the API's ``Server-Timing`` header, which reports where a request's time went.

It is a list of metrics, each a name with parameters: ``dur`` in ms; ``desc``, a description; and,
for the queries to the stores, ``start``, in ms since the request began::

    total;dur=12.3, postgresql;dur=2.8;desc="1 round trip", postgresql-1;dur=2.8;start=0.4;desc="…"

This module neither draws nor imports a plotting library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from helpers.errors import StoreName
from helpers.stores.trace import STORES, Span

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf';\s*({_WORD})\s*=\s*(?:({_WORD})|"((?:[^"\\]|\\.)*)")\s*')
_METRIC = re.compile(rf"\s*({_WORD})\s*((?:{_PARAMETER.pattern})*)(?:,|$)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_QUERY = re.compile(r"([a-z]+)-\d+")
_ROUND_TRIPS = re.compile(r"(\d+) round trips?")
_STORES: dict[str, StoreName] = {store.lower(): store for store in STORES}


@dataclass(frozen=True)
class Metric:
    """One metric of the header; times in seconds, ``None`` if missing."""

    name: str
    duration: float | None = None
    start: float | None = None
    description: str = ""


def parse_metrics(text: str) -> list[Metric]:
    """Return the metrics of a ``Server-Timing`` header, in its order.

    Raises ``ValueError`` if it is malformed.
    """
    metrics = []
    position = 0
    while position < len(text):
        found = _METRIC.match(text, position)
        if found is None:
            raise ValueError(
                f"Server-Timing is malformed at {text[position : position + 30]!r}: it must be a "
                'list such as total;dur=12.3, redis;dur=0.8;desc="1 round trip".'
            )
        metrics.append(_metric(found[1], found[2]))
        position = found.end()
    return metrics


def parse_server_timing(text: str) -> list[Span]:
    """Return the queries to the stores in a ``Server-Timing`` header, by their start.

    Times are seconds since the request began. Raises ``ValueError`` if the header is malformed.
    """
    return spans_of(parse_metrics(text))


def spans_of(metrics: Iterable[Metric]) -> list[Span]:
    """Return the queries to the stores among ``metrics``, by their start."""
    spans = []
    for metric in metrics:
        query = _QUERY.fullmatch(metric.name)
        store = _STORES.get(query[1]) if query else None
        if store is None or metric.start is None:
            continue
        end = metric.start + (metric.duration or 0.0)
        spans.append(Span(store, metric.description, metric.start, end))
    return sorted(spans, key=lambda span: span.start_seconds)


def round_trips_of(metrics: Iterable[Metric]) -> dict[StoreName, int]:
    """Return the number of round trips to each store for which ``metrics`` contain it."""
    counts: dict[StoreName, int] = {}
    for metric in metrics:
        store = _STORES.get(metric.name)
        count = _ROUND_TRIPS.search(metric.description.replace(",", ""))
        if store is not None and count is not None:
            counts[store] = int(count[1])
    return counts


def _metric(name: str, parameters: str) -> Metric:
    values: dict[str, str] = {}
    for key, token, quoted in _PARAMETER.findall(parameters):
        values.setdefault(key.lower(), token or re.sub(r"\\(.)", r"\1", quoted))
    return Metric(
        name,
        _seconds(name, values.get("dur")),
        _seconds(name, values.get("start")),
        values.get("desc", ""),
    )


def _seconds(name: str, milliseconds: str | None) -> float | None:
    if milliseconds is None:
        return None
    if not _NUMBER.fullmatch(milliseconds):
        raise ValueError(
            f"Server-Timing has {milliseconds!r} for {name}: it must be a number of milliseconds."
        )
    return float(milliseconds) / 1000
