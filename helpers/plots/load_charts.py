"""Charts of an HTTP server under load: its throughput and latency, and the time of one response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from helpers.lab.load import Load
from helpers.lab.server_timing import parse_metrics, round_trips_of, spans_of
from helpers.plots.charts import STYLES, Points, legend_above, panels, plain_scales, plot_line
from helpers.plots.join_charts import draw_waterfall
from helpers.plots.palette import GREY, INK, PAPER

# The horizontal distance between whiskers of neighbouring lines, as a factor on the log scale.
_APART = 1.08
_MARGIN = 1.5


def draw_load(loads: Mapping[str, Sequence[Load]]) -> Figure:
    """Draw throughput and latency, by the number of clients: a line for each way to answer.

    Latency is drawn as the median with a whisker up to the 95th percentile. A hollow marker means
    that some requests failed; a load without any successful response has none.
    """
    figure, (rates, latencies) = panels(2, 10, 3.9, grid="y")
    hollow = False
    for index, (way, line) in enumerate(loads.items()):
        ordered = sorted((load for load in line if load.latencies), key=lambda load: load.clients)
        failed = [load.failed > 0 for load in ordered]
        hollow = hollow or any(failed)
        points = [(float(load.clients), load.requests_per_second) for load in ordered]
        plot_line(rates, points, index, way)
        _hollow(rates, points, failed, index)
        shift = _APART ** (index - (len(loads) - 1) / 2)
        points = [(load.clients * shift, 1000 * load.p50) for load in ordered]
        _whiskers(latencies, points, [1000 * load.p95 for load in ordered], index)
        plot_line(latencies, points, index, way)
        _hollow(latencies, points, failed, index)
    clients = sorted({load.clients for line in loads.values() for load in line})
    empty = not any(load.latencies for line in loads.values() for load in line)
    rates.set_ylabel("answers per second")
    latencies.set_ylabel("latency in ms: median, up to p95")
    for axes in (rates, latencies):
        _scale(axes, clients)
        if empty:  # an empty logarithmic axis cannot be drawn
            axes.set_ylim(1, 10)
    if hollow:
        rates.plot(
            [], [], marker="o", color=PAPER, markeredgecolor=GREY, label="some requests failed"
        )
    legend_above(figure, rates)
    return figure


def draw_timing(text: str) -> Figure:
    """Draw the ``Server-Timing`` header of one response: its queries to the stores over time.

    The number of round trips that the header counts but does not list is given below them.

    Raises ``ValueError`` if the header is malformed.
    """
    metrics = parse_metrics(text)
    spans = spans_of(metrics)
    total = next((metric.duration for metric in metrics if metric.name == "total"), None)
    unlisted = sum(round_trips_of(metrics).values()) - len(spans)
    figure = draw_waterfall(spans, total_seconds=total, unlisted=max(0, unlisted))
    if not spans:
        shared = [metric.description for metric in metrics if metric.name == "shared"]
        text = ", ".join(["no question to a store", *(f"shared {how}" for how in shared)])
        axes = figure.axes[0]
        axes.text(
            0.5, 0.5, text, ha="center", va="center", size=9, color=INK, transform=axes.transAxes
        )
    return figure


def _scale(axes: Axes, clients: Sequence[int]) -> None:
    axes.set(xscale="log", yscale="log", xlabel="callers at the same time")
    if clients:
        axes.set_xlim(clients[0] / _MARGIN, clients[-1] * _MARGIN)
    plain_scales(axes)
    axes.xaxis.set_major_locator(FixedLocator(clients))
    axes.xaxis.set_minor_locator(NullLocator())


def _whiskers(axes: Axes, points: Points, ends: Sequence[float], index: int) -> None:
    """Draw a line from each point up to its end."""
    above = [end - y for (_, y), end in zip(points, ends, strict=True)]
    axes.errorbar(
        [x for x, _ in points],
        [y for _, y in points],
        yerr=[[0.0] * len(points), above],
        fmt="none",
        ecolor=STYLES[index % len(STYLES)][0],
        elinewidth=1.2,
        capsize=3.5,
    )


def _hollow(axes: Axes, points: Points, failed: Sequence[bool], index: int) -> None:
    """Draw hollow markers over the points of loads that ``failed`` in part."""
    axes.plot(
        [x for (x, _), hollow in zip(points, failed, strict=True) if hollow],
        [y for (_, y), hollow in zip(points, failed, strict=True) if hollow],
        color=PAPER,
        marker=STYLES[index % len(STYLES)][1],
        markersize=6,
        markeredgecolor=STYLES[index % len(STYLES)][0],
        markeredgewidth=1.4,
        linestyle="none",
        zorder=3,
    )
