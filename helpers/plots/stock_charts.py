"""Charts of the cache: round trips, overselling, expirations, hit ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.plots.charts import (
    STYLES,
    Points,
    in_milliseconds,
    label_rows,
    legend_above,
    one_panel,
    open_axes,
    panels,
    plain_numbers,
    plot_bars,
    plot_lines,
    round_trip_panels,
)
from helpers.plots.palette import GREY, INK, REDIS


def draw_round_trips(
    latency: Mapping[str, Mapping[float, Sequence[tuple[int, float]]]],
) -> Figure:
    """Draw how long it takes to read stock counts, by their number: a panel per round-trip time.

    ``latency`` holds for each way to read, by round-trip time in ms, pairs of the number of
    products and seconds.
    """
    times = {milliseconds for lines in latency.values() for milliseconds in lines}
    figure, by_time = round_trip_panels(times, width=2.5, ylabel="latency in ms")
    for milliseconds, axes in by_time.items():
        plot_lines(
            axes,
            in_milliseconds({way: line.get(milliseconds, ()) for way, line in latency.items()}),
        )
        if milliseconds > 0:
            axes.axhline(milliseconds, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        plain_numbers(axes.xaxis, axes.yaxis)
    legend_above(figure, next(iter(by_time.values())))
    return figure


def draw_oversold(units: Mapping[str, Sequence[tuple[int, int]]]) -> Figure:
    """Draw how many units are oversold, by the number of buyers: a line for each way to sell.

    Lines that are zero throughout are distinguished by their markers, which are drawn side by side.
    """
    figure, axes = one_panel(8.4, 4.2, grid="y")
    counts = sorted({buyers for line in units.values() for buyers, _ in line})
    most = max((sold for line in units.values() for _, sold in line), default=0)
    zero = [way for way, line in units.items() if not any(sold for _, sold in line)]
    labels: list[_Label] = []
    for (way, line), (colour, marker, dashes) in zip(units.items(), STYLES, strict=False):
        # Shifted sideways by a fraction of the distance between two numbers of buyers.
        shift = 0.16 * (zero.index(way) - (len(zero) - 1) / 2) if way in zero else 0.0
        points = sorted(line)
        axes.plot(
            [counts.index(buyers) + shift for buyers, _ in points],
            [sold for _, sold in points],
            color=colour,
            marker=marker,
            markersize=8,
            markeredgecolor=INK,
            markeredgewidth=0.6,
            linestyle=dashes,
            linewidth=1.8,
            clip_on=False,
            zorder=3,
            label=way,
        )
        last = points[-1][1] if points else 0
        text = f"{way}: {'none' if way in zero else last}"
        labels.append(_Label(last, text, colour, marker))
    top = max(1.0, 1.1 * most)
    _label_ends(axes, labels, len(counts) - 1 + 0.45, top)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set(
        xlabel="buyers at the same time",
        ylabel="units sold that were not there",
        xlim=(-0.5, len(counts) - 0.6),
        ylim=(-0.03 * top, top),
    )
    return figure


def draw_origin_calls(calls: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the effects of one expiry under each protection: a panel per effect.

    ``calls`` holds for each protection the number of each effect, such as "calls to the origin" and
    "readers who waited".
    """
    things = list(dict.fromkeys(thing for counts in calls.values() for thing in counts))
    size = 1.8 + 3.1 * len(things), 0.9 + 0.55 * len(calls)
    figure, all_axes = panels(len(things), *size, grid="y", sharey=True)
    for number, (axes, thing) in enumerate(zip(all_axes, things, strict=True)):
        values = [counts.get(thing, 0) for counts in calls.values()]
        most = plot_bars(axes, values, [f"{value:g}" for value in values], number)
        axes.set(xlabel=thing, xlim=(0, 1.16 * max(1, most)))
    label_rows(all_axes[0], list(calls))
    all_axes[0].set_ylabel("protection")
    return figure


def draw_expiries(without: Sequence[float], with_jitter: Sequence[float]) -> Figure:
    """Draw when keys expire, in seconds after they were written, without and with jitter."""
    figure = Figure(figsize=(7.6, 3.8), layout="tight")
    all_axes = figure.subplots(2, 1, sharex=True)
    every = [*without, *with_jitter]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    # At least a second wide, so that a single moment does not fill the whole width.
    margin = max(0.5, 0.06 * (high - low))
    edges = np.linspace(low - margin, high + margin, 61)
    width = edges[1] - edges[0]
    series = (("without jitter", without), ("with jitter", with_jitter))
    for axes, (title, moments) in zip(all_axes, series, strict=True):
        heights, _, _ = axes.hist(
            moments, bins=edges.tolist(), color=REDIS, edgecolor=INK, linewidth=0.5
        )
        tallest = max(np.atleast_1d(np.asarray(heights, dtype=float)).tolist(), default=0.0)
        axes.set_title(f"{title}: {tallest:.0f} at most in {width:.2g} s", size=10, loc="left")
        axes.set_ylabel("keys")
        open_axes(axes)
    all_axes[1].set_xlabel("seconds until they expire")
    return figure


def draw_hit_ratios(
    ratios: Mapping[str, Points],
    ideal: Points | None = None,
) -> Figure:
    """Draw the hit ratio by the size of the cache, both from 0 to 1: a line per eviction policy.

    ``ideal`` is the line of a cache that always holds the most popular items.
    """
    figure, axes = one_panel(7.2, 4.0, grid="y")
    right = max((share for line in [*ratios.values(), ideal or ()] for share, _ in line), default=1)
    if ideal:
        points = sorted(ideal)
        axes.plot(
            *zip(*points, strict=True),
            color=GREY,
            linewidth=3,
            alpha=0.6,
            label="ideal: always the most popular",
        )
    plot_lines(axes, ratios)
    axes.set(
        xlabel="keys that the cache holds, as a share of the catalogue",
        ylabel="requests that hit",
        xlim=(0, 1.03 * right),
        ylim=(0, 1),
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, loc="lower right")
    return figure


class _Label(NamedTuple):
    """The label at the end of a line, at height ``y``, after the line's marker."""

    y: float
    text: str
    colour: str
    marker: str


def _label_ends(axes: Axes, labels: Sequence[_Label], x: float, top: float) -> None:
    """Label the ends of the lines, from the lowest up, without overlaps."""
    free = -top
    for label in sorted(labels, key=lambda label: label.y):
        at = max(label.y, free)
        axes.plot(
            [x],
            [at],
            marker=label.marker,
            color=label.colour,
            markersize=7,
            markeredgecolor=INK,
            markeredgewidth=0.6,
            clip_on=False,
        )
        axes.annotate(
            *(label.text, (x, at)),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            size=10,
            color=INK,
            annotation_clip=False,
        )
        free = at + 0.075 * top
