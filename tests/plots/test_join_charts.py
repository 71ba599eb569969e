"""The drawings of the join: they can be drawn from what is measured, without a warning."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from helpers.plots.join_charts import (
    draw_crossover,
    draw_growth,
    draw_latency,
    draw_pages,
    draw_staleness,
    draw_waterfall,
)
from helpers.stores.trace import Span


def _drawn(figure: Figure) -> list[str]:
    figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_growth_has_a_line_for_each_way() -> None:
    figure = draw_growth({f"way {way}": [(1000, 0.02), (100, 0.003)] for way in range(9)})
    _drawn(figure)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == [f"way {way}" for way in range(9)]
    assert list(np.asarray(axes.lines[0].get_ydata())) == pytest.approx([3, 20])


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 1), (40, 40), (41, 40), (2000, 40)])
def test_a_long_waterfall_says_how_much_it_leaves_out(count: int, rows: int) -> None:
    spans = [Span("Redis", "MGET", at / 1000, (at + 1) / 1000) for at in range(count)]
    figure = draw_waterfall(spans)
    texts = _drawn(figure)
    assert len(figure.axes[0].get_yticks()) == rows
    assert texts == ([f"  {count - 39:,} more round trips"] if count > rows else [])


def test_latency_fits_its_round_trips() -> None:
    line = {5.0: [(1, 0.015), (100, 1.005)]}
    figure = draw_latency(
        {"per product": line},
        {"per product": {5.0: (0.0, 0.005)}},
        {"per product": lambda n: 1 + 2 * n},
    )
    _drawn(figure)
    measured, fitted, _ = figure.axes[0].lines
    assert measured.get_linestyle() == "None"
    ends = np.asarray(fitted.get_ydata())[[0, -1]]
    assert list(ends) == pytest.approx([15, 1005])
    assert len(draw_latency({"per product": line}).axes[0].lines) == 1


def test_the_crossover_is_named() -> None:
    lines = {"MongoDB first": [(0.01, 0.002), (1.0, 0.2)]}
    assert _drawn(draw_crossover(lines, 0.135)) == ["equal at 14 %"]
    assert _drawn(draw_crossover(lines)) == []


def test_staleness_says_every_figure() -> None:
    figure = draw_staleness({"ask": (0.028, 0), "cache": (0.0007, 60)})
    assert _drawn(figure) == ["28", "0.7", "0", "60,000"]


def test_pages_begin_at_zero() -> None:
    figure = draw_pages({"OFFSET": [(1, 0.004), (400, 0.02)], "after the last id": [(1, 0.004)]})
    _drawn(figure)
    assert figure.axes[0].get_ylim()[0] == 0
