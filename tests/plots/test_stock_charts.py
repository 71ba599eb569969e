"""Charts of the cache: what they show of the measurements, drawn without a warning."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from helpers.plots.stock_charts import (
    draw_expiries,
    draw_hit_ratios,
    draw_origin_calls,
    draw_oversold,
    draw_round_trips,
)
from tests.plots.figures import texts_of, x_values, y_values

_WAYS = ("GET, then SET", "DECR", "DECR, checked", "WATCH and MULTI", "Lua script")


def _heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]


def test_round_trips_have_a_panel_per_delay_with_a_common_scale() -> None:
    lines = {0.0: [(1, 0.0001), (100, 0.002)], 5.0: [(1, 0.005), (100, 0.5)]}
    figure = draw_round_trips({"GET": lines, "MGET": {0.0: [(1, 0.0001)]}})
    texts_of(figure)
    assert [axes.get_title() for axes in figure.axes] == ["no delay", "5 ms a round trip"]
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in figure.axes} == {("log", "log")}
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert y_values(figure.axes[0].lines[0]) == pytest.approx([0.1, 2.0])


@pytest.mark.parametrize("most", [0, 3, 500])
def test_lines_that_stay_at_zero_are_distinguishable(most: int) -> None:
    units = {way: [(1, 0), (10, most if way == "DECR" else 0)] for way in _WAYS}
    figure = draw_oversold(units)
    texts = texts_of(figure)
    assert sorted(text.rpartition(": ")[0] for text in texts) == sorted(_WAYS)
    assert f"DECR: {most or 'none'}" in texts
    (axes,) = figure.axes
    heights = sorted(text.xy[1] for text in axes.texts if hasattr(text, "xy"))
    step = 0.05 * max(1, most)
    assert all(high - low > step for low, high in itertools.pairwise(heights))
    flat = [x_values(line) for line in axes.lines if set(y_values(line)) == {0.0}]
    starts = [values[0] for values in flat if len(values) == 2]
    assert len(set(starts)) == len(starts) >= len(_WAYS) - 1


def test_origin_calls_have_a_panel_per_effect() -> None:
    figure = draw_origin_calls(
        {"none": {"calls": 50, "readers who waited": 50}, "lock": {"calls": 1}}
    )
    assert texts_of(figure) == ["50", "1", "50", "0"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["calls", "readers who waited"]


def test_expiries_share_an_axis_and_count_every_key() -> None:
    figure = draw_expiries([60.0] * 1000, [54 + 0.012 * number for number in range(1000)])
    texts_of(figure)
    above, below = figure.axes
    assert above.get_xlim() == below.get_xlim()
    counted = [sum(_heights(axes)) for axes in (above, below)]
    assert counted == [1000, 1000]
    assert above.get_title(loc="left").startswith("without jitter: 1000 at most in")
    texts_of(draw_expiries([60.0], [60.0]))


def test_hit_ratios_show_the_ideal_line_if_given() -> None:
    ratios = {"LRU": [(0.5, 0.8), (0.1, 0.5)], "LFU": [(0.1, 0.6), (0.5, 0.85)]}
    figure = draw_hit_ratios(ratios, ideal=[(0.1, 0.7), (0.5, 0.9)])
    texts_of(figure)
    assert [line.get_label() for line in figure.axes[0].lines][1:] == ["LRU", "LFU"]
    assert x_values(figure.axes[0].lines[1]) == [0.1, 0.5]
    assert len(draw_hit_ratios(ratios).axes[0].lines) == 2
