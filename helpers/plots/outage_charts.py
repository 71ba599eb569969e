"""Drawings of an outage: what was answered through it, and how long one waited for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.lab.availability import KINDS, Availability, Kind
from helpers.plots.line_charts import legend_above, open_axes
from helpers.plots.palette import GREY, IDLE, INK, PAPER, SKY, WINE, ink_on

#: Colour and hatch of each kind of answer: apart in grey, too.
_LOOKS: Mapping[Kind, tuple[str, str]] = {
    "whole": (SKY, ""),
    "partial": (WINE, "..."),
    "refused": (IDLE, "///"),
    "none": (INK, ""),
}
_MARKERS: Mapping[Kind, str] = {"whole": "o", "partial": "D", "refused": "x", "none": "s"}
_BIN_SECONDS = 0.5


def draw_availability(watched: Mapping[str, Availability]) -> Figure:
    """Draw, for each way, the answers of each half second by kind, and how long each took.

    What happened meanwhile is a dashed line with its name. Time goes from left to right in seconds.
    """
    figure = Figure(figsize=(10, 0.8 + 2.5 * len(watched)))
    rows = figure.subplots(len(watched), 2, squeeze=False, sharex=True)
    longest = max((one.samples[-1].ended for one in watched.values() if one.samples), default=1.0)
    slowest = max((one.slowest() for one in watched.values()), default=1.0)
    for (shares, latencies), (way, found) in zip(rows, watched.items(), strict=True):
        _draw_shares(shares, found)
        _draw_latencies(latencies, found)
        shares.set(ylim=(0, 1), xlim=(0, longest), ylabel="share of answers")
        latencies.set(yscale="log", ylim=(0.5, 3000 * slowest + 1), ylabel="latency in ms")
        for axes in (shares, latencies):
            axes.set_title(way, size=10, loc="left", color=INK)
            for moment, what in found.marks:
                axes.axvline(moment, color=INK, linestyle="--", linewidth=1)
                axes.annotate(
                    what,
                    (moment, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -9),
                    textcoords="offset points",
                    size=8,
                    color=INK,
                    bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
                )
            open_axes(axes)
    for axes in rows[-1]:
        axes.set_xlabel("seconds")
    figure.tight_layout(h_pad=1.2)
    legend_above(figure, rows[0][0])
    return figure


def describe_availability(watched: Mapping[str, Availability]) -> str:
    """Return in words what ``draw_availability`` draws: how many answers of each kind."""
    lines = []
    for way, found in watched.items():
        counts = ", ".join(f"{count} {kind}" for kind, count in found.counts().items() if count)
        lines.append(f"{way}: {counts or 'nothing was asked'}.")
    return "\n".join(lines)


def _draw_shares(axes: Axes, found: Availability) -> None:
    bins: dict[int, Counter[Kind]] = {}
    for one in found.samples:
        bins.setdefault(math.floor(one.began / _BIN_SECONDS), Counter())[one.kind] += 1
    numbers = sorted(bins)
    below = [0.0] * len(numbers)
    for kind in KINDS:
        colour, hatch = _LOOKS[kind]
        heights = [bins[number][kind] / bins[number].total() for number in numbers]
        axes.bar(
            [number * _BIN_SECONDS for number in numbers],
            heights,
            _BIN_SECONDS,
            below,
            align="edge",
            color=colour,
            hatch=hatch,
            edgecolor=ink_on(colour) if hatch else colour,
            linewidth=0,
            label=kind,
        )
        below = [low + height for low, height in zip(below, heights, strict=True)]


def _draw_latencies(axes: Axes, found: Availability) -> None:
    for kind in KINDS:
        points = [(one.began, 1000 * one.seconds) for one in found.samples if one.kind == kind]
        colour, _ = _LOOKS[kind]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            linestyle="none",
            marker=_MARKERS[kind],
            markersize=3.5,
            color=GREY if kind == "refused" else colour,
        )
