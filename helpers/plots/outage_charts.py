"""Charts of an outage: the outcomes of requests over time, and their latencies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.lab.availability import KINDS, Availability, Kind
from helpers.plots.charts import legend_above, open_axes
from helpers.plots.palette import GREY, IDLE, INK, PAPER, SKY, WINE, ink_on

#: Colour and hatch of each kind of outcome, distinct in greyscale, too.
_LOOKS: Mapping[Kind, tuple[str, str]] = {
    "whole": (SKY, ""),
    "partial": (WINE, "..."),
    "refused": (IDLE, "///"),
    "none": (INK, ""),
}
_MARKERS: Mapping[Kind, str] = {"whole": "o", "partial": "D", "refused": "x", "none": "s"}
_BIN_SECONDS = 0.5


def draw_availability(monitored: Mapping[str, Availability]) -> Figure:
    """Draw for each service the share of outcomes per half second, and the latencies.

    Dashed lines mark the events, with their names. The x axis is time in seconds.
    """
    figure = Figure(figsize=(10, 0.8 + 2.5 * len(monitored)), layout="tight")
    rows = figure.subplots(len(monitored), 2, squeeze=False, sharex=True)
    longest = max(
        (found.samples[-1].ended for found in monitored.values() if found.samples), default=1.0
    )
    slowest = max((found.slowest() for found in monitored.values()), default=1.0)
    for (shares, latencies), (way, found) in zip(rows, monitored.items(), strict=True):
        _draw_shares(shares, found)
        _draw_latencies(latencies, found)
        shares.set(ylim=(0, 1), xlim=(0, longest), ylabel="share of answers")
        latencies.set(yscale="log", ylim=(0.5, 3000 * slowest + 1), ylabel="latency in ms")
        for axes in (shares, latencies):
            axes.set_title(way, size=10, loc="left", color=INK)
            for moment, event in found.marks:
                axes.axvline(moment, color=INK, linestyle="--", linewidth=1)
                axes.annotate(
                    event,
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
    legend_above(figure, rows[0][0])
    return figure


def describe_availability(monitored: Mapping[str, Availability]) -> str:
    """Return a description of what ``draw_availability`` draws: the number of outcomes."""
    lines = []
    for way, found in monitored.items():
        counts = ", ".join(f"{count} {kind}" for kind, count in found.counts().items() if count)
        lines.append(f"{way}: {counts or 'nothing was asked'}.")
    return "\n".join(lines)


def _draw_shares(axes: Axes, found: Availability) -> None:
    bins: dict[int, Counter[Kind]] = {}
    for sample in found.samples:
        number = math.floor(sample.began / _BIN_SECONDS)
        bins.setdefault(number, Counter())[sample.kind] += 1
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
        points = [(s.began, 1000 * s.seconds) for s in found.samples if s.kind == kind]
        colour, _ = _LOOKS[kind]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            linestyle="none",
            marker=_MARKERS[kind],
            markersize=3.5,
            color=GREY if kind == "refused" else colour,
        )
