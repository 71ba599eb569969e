"""The drawings of lesson 03: they can be drawn from what the lesson measures, without a warning."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from helpers.plots.stock_charts import (
    draw_expiries,
    draw_hit_ratios,
    draw_origin_calls,
    draw_oversold,
    draw_round_trips,
)

_WAYS = ("GET, then SET", "DECR", "DECR, checked", "WATCH and MULTI", "Lua script")


def _texts(figure: Figure) -> list[str]:
    figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def _across(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_xdata())]


def _up(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata())]


def _heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]


def test_round_trips_have_a_panel_for_each_delay_on_one_scale() -> None:
    lines = {0.0: [(1, 0.0001), (100, 0.002)], 5.0: [(1, 0.005), (100, 0.5)]}
    figure = draw_round_trips({"GET": lines, "MGET": {0.0: [(1, 0.0001)]}})
    _texts(figure)
    assert [axes.get_title() for axes in figure.axes] == ["no delay", "5 ms a round trip"]
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in figure.axes} == {("log", "log")}
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert _up(figure.axes[0].lines[0]) == pytest.approx([0.1, 2.0])


@pytest.mark.parametrize("most", [0, 3, 500])
def test_ways_that_never_oversell_are_told_apart(most: int) -> None:
    units = {way: [(1, 0), (10, most if way == "DECR" else 0)] for way in _WAYS}
    figure = draw_oversold(units)
    texts = _texts(figure)
    assert sorted(text.rpartition(": ")[0] for text in texts) == sorted(_WAYS)
    assert f"DECR: {most or 'none'}" in texts
    (axes,) = figure.axes
    heights = sorted(text.xy[1] for text in axes.texts if hasattr(text, "xy"))
    step = 0.05 * max(1, most)
    assert all(high - low > step for low, high in itertools.pairwise(heights))
    flat = [_across(line) for line in axes.lines if set(_up(line)) == {0.0}]
    starts = [across[0] for across in flat if len(across) == 2]
    assert len(set(starts)) == len(starts) >= len(_WAYS) - 1


def test_origin_calls_have_a_panel_for_each_thing_counted() -> None:
    figure = draw_origin_calls(
        {"none": {"calls": 50, "readers who waited": 50}, "lock": {"calls": 1}}
    )
    assert _texts(figure) == ["50", "1", "50", "0"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["calls", "readers who waited"]


def test_expiries_share_their_time_and_count_every_key() -> None:
    figure = draw_expiries([60.0] * 1000, [54 + 0.012 * number for number in range(1000)])
    _texts(figure)
    above, below = figure.axes
    assert above.get_xlim() == below.get_xlim()
    counted = [sum(_heights(axes)) for axes in (above, below)]
    assert counted == [1000, 1000]
    assert above.get_title(loc="left").startswith("without jitter: 1000 at most in")
    _texts(draw_expiries([60.0], [60.0]))


def test_hit_ratios_show_the_ideal_where_it_is_given() -> None:
    ratios = {"LRU": [(0.5, 0.8), (0.1, 0.5)], "LFU": [(0.1, 0.6), (0.5, 0.85)]}
    figure = draw_hit_ratios(ratios, ideal=[(0.1, 0.7), (0.5, 0.9)])
    _texts(figure)
    assert [line.get_label() for line in figure.axes[0].lines][1:] == ["LRU", "LFU"]
    assert _across(figure.axes[0].lines[1]) == [0.1, 0.5]
    assert len(draw_hit_ratios(ratios).axes[0].lines) == 2
