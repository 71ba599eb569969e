"""Charts of the join: what they show of the measurements, drawn without a warning."""

from __future__ import annotations

import pytest

from helpers.plots.join_charts import (
    draw_crossover,
    draw_latency,
    draw_pages,
    draw_staleness,
    draw_waterfall,
)
from helpers.stores.trace import Span
from tests.plots.figures import texts_of, y_values


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 1), (40, 40), (41, 40), (2000, 40)])
def test_a_long_waterfall_shows_how_many_round_trips_it_leaves_out(count: int, rows: int) -> None:
    spans = [Span("Redis", "MGET", at / 1000, (at + 1) / 1000) for at in range(count)]
    figure = draw_waterfall(spans)
    texts = texts_of(figure)
    assert len(figure.axes[0].get_yticks()) == rows
    assert texts == ([f"  {count - 39:,} more round trips"] if count > rows else [])


def test_latency_draws_the_fitted_line() -> None:
    line = {5.0: [(1, 0.015), (100, 1.005)]}
    figure = draw_latency(
        {"per product": line},
        {"per product": {5.0: (0.0, 0.005)}},
        {"per product": lambda n: 1 + 2 * n},
    )
    texts_of(figure)
    measured, fitted, _ = figure.axes[0].lines
    assert measured.get_linestyle() == "None"
    values = y_values(fitted)
    assert (values[0], values[-1]) == pytest.approx((15, 1005))
    assert len(draw_latency({"per product": line}).axes[0].lines) == 1


def test_the_crossover_is_labelled() -> None:
    lines = {"MongoDB first": [(0.01, 0.002), (1.0, 0.2)]}
    assert texts_of(draw_crossover(lines, 0.135)) == ["equal at 14 %"]
    assert texts_of(draw_crossover(lines)) == []


def test_staleness_labels_every_bar() -> None:
    figure = draw_staleness({"ask": (0.028, 0), "cache": (0.0007, 60)})
    assert texts_of(figure) == ["28", "0.7", "0", "60,000"]


def test_the_y_axis_of_pages_starts_at_zero() -> None:
    figure = draw_pages({"OFFSET": [(1, 0.004), (400, 0.02)], "after the last id": [(1, 0.004)]})
    texts_of(figure)
    assert figure.axes[0].get_ylim()[0] == 0
