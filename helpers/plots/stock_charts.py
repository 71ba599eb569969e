"""Drawings of a fast copy: what a round trip costs, what is oversold, what expires, what is hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.plots.line_charts import STYLES, legend_above, open_axes, plain_numbers, plot_line
from helpers.plots.palette import GREY, INK, PURPLE, REDIS, SKY


def draw_round_trips(
    latency: Mapping[str, Mapping[float, Sequence[tuple[int, float]]]],
) -> Figure:
    """Draw how long it takes to read counts, by their number: a panel for each round-trip time.

    ``latency`` holds for each way of reading, by round-trip time in ms, pairs of the number of
    products and the seconds that reading their counts took.
    """
    trips = sorted({trip for lines in latency.values() for trip in lines})
    figure = Figure(figsize=(0.8 + 2.5 * len(trips), 3.6))
    all_axes = figure.subplots(1, len(trips), sharey=True, squeeze=False)[0]
    for axes, trip in zip(all_axes, trips, strict=True):
        for style, (way, lines) in enumerate(latency.items()):
            points = [(count, 1000 * seconds) for count, seconds in sorted(lines.get(trip, ()))]
            plot_line(axes, points, style, way)
        if trip > 0:
            axes.axhline(trip, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        axes.set(xscale="log", yscale="log", xlabel="products")
        axes.set_title(f"{trip:g} ms a round trip" if trip else "no delay", size=11)
        plain_numbers(axes.xaxis, axes.yaxis)
        open_axes(axes)
    all_axes[0].set_ylabel("latency in ms")
    figure.tight_layout()
    legend_above(figure, all_axes[0])
    return figure


def draw_oversold(units: Mapping[str, Sequence[tuple[int, int]]]) -> Figure:
    """Draw how many units are oversold, by the number of buyers: a line for each way of selling.

    Lines that lie at zero throughout are told apart by their markers, which are set side by side.
    """
    figure = Figure(figsize=(8.4, 4.2))
    axes = figure.subplots()
    counts = sorted({buyers for line in units.values() for buyers, _ in line})
    most = max((sold for line in units.values() for _, sold in line), default=0)
    zero = [way for way, line in units.items() if not any(sold for _, sold in line)]
    labels: list[_Label] = []
    for (way, line), (colour, marker, dashes) in zip(units.items(), STYLES, strict=False):
        # Shifted sideways, by a part of the step between two numbers of buyers.
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
    open_axes(axes)
    figure.tight_layout()
    return figure


def draw_origin_calls(calls: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw what one expiry causes, under each protection: one panel for each thing counted.

    ``calls`` holds for each protection the counts by what they count, such as "calls to the
    origin" and "readers who waited".
    """
    things = list(dict.fromkeys(thing for counts in calls.values() for thing in counts))
    figure = Figure(figsize=(1.8 + 3.1 * len(things), 0.9 + 0.55 * len(calls)))
    all_axes = figure.subplots(1, len(things), sharey=True, squeeze=False)[0]
    looks = ((SKY, ""), (PURPLE, "///"), (GREY, "..."))
    for number, (axes, thing) in enumerate(zip(all_axes, things, strict=True)):
        colour, hatch = looks[number % len(looks)]
        values = [counts.get(thing, 0) for counts in calls.values()]
        most = max([1, *values])
        axes.barh(
            range(len(calls)), values, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.6
        )
        for row, value in enumerate(values):
            axes.text(value + 0.02 * most, row, f"{value:g}", va="center", size=9.5, color=INK)
        axes.set(xlabel=thing, xlim=(0, 1.16 * most))
        axes.tick_params(axis="y", length=0)
        open_axes(axes)
    all_axes[0].set_yticks(range(len(calls)), list(calls))
    all_axes[0].set_ylabel("protection")
    all_axes[0].invert_yaxis()
    figure.tight_layout()
    return figure


def draw_expiries(without: Sequence[float], with_jitter: Sequence[float]) -> Figure:
    """Draw when keys expire, in seconds after they were written, without and with jitter."""
    figure = Figure(figsize=(7.6, 3.8))
    all_axes = figure.subplots(2, 1, sharex=True)
    every = [*without, *with_jitter]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    # At least a second wide, lest a single moment fill the whole width.
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
    figure.tight_layout()
    return figure


def draw_hit_ratios(
    ratios: Mapping[str, Sequence[tuple[float, float]]],
    ideal: Sequence[tuple[float, float]] | None = None,
) -> Figure:
    """Draw the ratio of hits by the size of the cache, as shares from 0 to 1: a line for a policy.

    ``ideal`` is the line of a cache that always holds the most popular items.
    """
    figure = Figure(figsize=(7.2, 4.0))
    axes = figure.subplots()
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
    for style, (policy, line) in enumerate(ratios.items()):
        plot_line(axes, sorted(line), style, policy)
    axes.set(
        xlabel="keys that the cache holds, as a share of the catalogue",
        ylabel="requests that hit",
        xlim=(0, 1.03 * right),
        ylim=(0, 1),
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, loc="lower right")
    open_axes(axes)
    figure.tight_layout()
    return figure


class _Label(NamedTuple):
    """What stands beside the end of a line, at height ``y``, after the line's own marker."""

    y: float
    text: str
    colour: str
    marker: str


def _label_ends(axes: Axes, labels: Sequence[_Label], x: float, top: float) -> None:
    """Write beside the lines' ends what they are, from below, none over another."""
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
