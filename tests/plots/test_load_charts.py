"""Charts of a server under load: what they show of the measurements."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from helpers.lab.load import Load
from helpers.plots.load_charts import draw_load, draw_timing
from tests.plots.figures import texts_of, x_values, y_values

WAYS = ("per-product", "batched", "single-flight", "read-model", "constant")


def _load(
    clients: int, *latencies: float, seconds: float = 2.0, failures: Mapping[str, int] | None = None
) -> Load:
    failures = failures or {}
    requests = len(latencies) + sum(failures.values())
    return Load(clients, requests, failures, 0, seconds, latencies, 0.0)


def _labelled(figure: Figure, panel: int) -> dict[str, Line2D]:
    lines = {str(line.get_label()): line for line in figure.axes[panel].lines}
    return {label: line for label, line in lines.items() if not label.startswith("_")}


def test_load_has_a_panel_for_throughput_and_one_for_latency() -> None:
    loads = [_load(64, 0.4, 0.5, 0.6), _load(1, 0.1), _load(16, 0.2, 0.3)]
    figure = draw_load(dict.fromkeys(WAYS, loads))
    texts_of(figure)
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in figure.axes} == {("log", "log")}
    rates, latencies = _labelled(figure, 0), _labelled(figure, 1)
    assert tuple(rates) == tuple(latencies) == WAYS
    assert x_values(rates["batched"]) == [1, 16, 64]
    assert y_values(rates["batched"]) == [0.5, 1.0, 1.5]
    assert y_values(latencies["batched"]) == pytest.approx([100, 200, 500])


def test_the_x_axis_is_labelled_with_the_numbers_of_clients() -> None:
    figure = draw_load({"one": [_load(1, 0.1), _load(16, 0.2), _load(64, 0.3)]})
    texts_of(figure)
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "16", "64"]
        assert not axes.get_xticklabels(minor=True)


def test_whiskers_reach_to_the_95th_percentile() -> None:
    load = _load(4, *(rank / 1000 for rank in range(1, 101)))
    figure = draw_load({"one": [load]})
    texts_of(figure)
    (whisker,) = figure.axes[1].collections[0].get_paths()
    assert [float(y) for _, y in np.asarray(whisker.vertices)] == pytest.approx([50, 95])


def test_whiskers_of_different_lines_do_not_overlap() -> None:
    figure = draw_load({way: [_load(8, 0.1)] for way in WAYS})
    texts_of(figure)
    places = [x_values(line)[0] for line in _labelled(figure, 1).values()]
    assert len(set(places)) == len(WAYS)
    assert places[2] == 8


def test_failures_are_shown_by_hollow_markers() -> None:
    good, bad = _load(1, 0.1), _load(16, 0.2, failures={"503": 2})
    figure = draw_load({"one": [good, bad]})
    texts_of(figure)
    assert "some requests failed" in _labelled(figure, 0)
    assert "some requests failed" not in _labelled(draw_load({"one": [good]}), 0)


def test_a_load_without_a_successful_response_has_no_point() -> None:
    figure = draw_load({"one": [_load(1, 0.1), _load(16, failures={"timeout": 16})]})
    texts_of(figure)
    assert x_values(_labelled(figure, 0)["one"]) == [1]
    texts_of(draw_load({"one": [_load(1, failures={"timeout": 1})]}))
    texts_of(draw_load({}))


def test_timing_draws_each_query_relative_to_the_start_of_the_request() -> None:
    figure = draw_timing(
        'total;dur=9, postgresql;dur=2;desc="1 round trip", '
        'redis-1;dur=1.5;start=4;desc="MGET", postgresql-1;dur=2;start=0.5;desc="SELECT"'
    )
    assert texts_of(figure) == []
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "PostgreSQL SELECT",
        "Redis MGET",
    ]
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [
        pytest.approx((0.5, 2)),
        pytest.approx((4, 1.5)),
    ]
    (end,) = axes.lines
    assert x_values(end) == pytest.approx([9, 9])
    assert end.get_label() == "answered after 9 ms"


def test_timing_shows_the_number_of_unlisted_round_trips() -> None:
    figure = draw_timing(
        'total;dur=1480.3, postgresql;desc="1 round trip", mongodb;desc="1000 round trips", '
        'redis;desc="1000 round trips", postgresql-1;dur=2;start=0.5;desc="SELECT"'
    )
    assert texts_of(figure) == ["  2,000 more round trips; answered after 1,480 ms"]
    assert figure.axes[0].get_xlim()[1] < 3
    assert not figure.axes[0].lines


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("total;dur=4", "no question to a store"),
        (
            'total;dur=4, shared;desc="with another request"',
            "no question to a store, shared with another request",
        ),
        ("", "no question to a store"),
    ],
)
def test_timing_without_queries_shows_a_note(header: str, text: str) -> None:
    assert texts_of(draw_timing(header)) == [text]
