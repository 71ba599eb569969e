"""Drawings of the join: one request as it happens, and what latency depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.errors import StoreName
from helpers.faces.lines import STYLES, legend_above, open_axes, plain_numbers, plot_line
from helpers.faces.palette import INK, MONGO, POSTGRES, REDIS
from helpers.stores.trace import Span

_COLOURS: dict[StoreName, str] = {"PostgreSQL": POSTGRES, "MongoDB": MONGO, "Redis": REDIS}
_HATCHES: dict[StoreName, str] = {"PostgreSQL": "", "MongoDB": "//", "Redis": ".."}
_MOST_SPANS = 40
_GREY = "#888888"

#: Pairs of a number of products and the seconds that it took.
Line = Sequence[tuple[int, float]]


def draw_waterfall(spans: Sequence[Span]) -> Figure:
    """Draw one request: a row for each round trip, from its beginning to its end.

    Of more than 40 round trips, the first 40 are drawn and the rest is counted.
    """
    shown = spans[:_MOST_SPANS]
    figure = Figure(figsize=(8.4, 0.9 + 0.26 * len(shown)))
    axes = figure.subplots()
    end = 1000 * max(span.end_seconds for span in shown)
    for row, span in enumerate(shown):
        begin = 1000 * span.start_seconds
        length = 1000 * (span.end_seconds - span.start_seconds)
        axes.barh(
            *(row, length),
            left=begin,
            height=0.7,
            color=_COLOURS[span.store],
            edgecolor=INK,
            linewidth=0.6,
            hatch=_HATCHES[span.store],
        )
        axes.text(
            begin + length + 0.008 * end, row, f"{length:.1f} ms", va="center", size=8, color=INK
        )
    axes.set_yticks(range(len(shown)), [f"{span.store} {span.name}" for span in shown], size=8.5)
    axes.invert_yaxis()
    hidden = len(spans) - len(shown)
    axes.set(
        xlabel=f"ms{f', and {hidden} more round trips' if hidden else ''}", xlim=(0, 1.1 * end)
    )
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.tight_layout()
    return figure


def draw_latency(
    latency: Mapping[str, Mapping[float, Line]],
    predicted: Mapping[str, Mapping[float, Line]],
) -> Figure:
    """Draw latency against the number of products: a panel for each round-trip time in ms.

    Of each strategy, what was measured has markers; what a model predicts is a grey line.
    """
    trips = sorted({trip for lines in latency.values() for trip in lines})
    figure = Figure(figsize=(0.8 + 2.5 * len(trips), 3.6))
    panels = figure.subplots(1, len(trips), sharey=True, squeeze=False)[0]
    for axes, trip in zip(panels, trips, strict=True):
        for lines in predicted.values():
            points = lines.get(trip, ())
            axes.plot(
                [n for n, _ in points],
                [1000 * seconds for _, seconds in points],
                color=_GREY,
                linewidth=5,
                alpha=0.5,
                label="a + b · round trips" if lines is next(iter(predicted.values())) else None,
            )
        for style, (name, measured) in enumerate(latency.items()):
            points = [(n, 1000 * seconds) for n, seconds in measured.get(trip, ())]
            plot_line(axes, points, style, name)
        axes.set(xscale="log", yscale="log", xlabel="products")
        axes.set_title(f"{trip:g} ms a round trip" if trip else "no delay", size=11)
        plain_numbers(axes)
        open_axes(axes)
    panels[0].set_ylabel("latency in ms")
    figure.tight_layout()
    legend_above(figure, panels[0])
    return figure


def draw_crossover(
    lines: Mapping[str, Sequence[tuple[float, float]]], crossover: float | None
) -> Figure:
    """Draw the time of each order against selectivity, the share of rows that meet a condition.

    ``crossover`` is the share at which the orders change places, where there is one.
    """
    figure = Figure(figsize=(6.8, 3.6))
    axes = figure.subplots()
    for style, (name, line) in enumerate(lines.items()):
        plot_line(axes, [(share, 1000 * seconds) for share, seconds in line], style + 1, name)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="share of the products that meet PostgreSQL's condition",
        ylabel="ms",
    )
    plain_numbers(axes)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    if crossover is not None:
        axes.axvline(crossover, color=_GREY, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            f" tips at {100 * crossover:g} %",
            (crossover, 0.96),
            xycoords=("data", "axes fraction"),
            size=9,
            color=INK,
        )
    axes.legend(frameon=False)
    open_axes(axes)
    figure.tight_layout()
    return figure


def draw_tasks(points: Sequence[tuple[int, float]], shards: int) -> Figure:
    """Draw how many shards a list of ids touches, beside what is expected of random ids."""
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    longest = max(length for length, _ in points)
    lengths = list(range(1, longest + 1))
    axes.plot(
        lengths,
        [shards * (1 - (1 - 1 / shards) ** n) for n in lengths],
        color=_GREY,
        linewidth=5,
        alpha=0.5,
        label="expected",
    )
    colour, _, _ = STYLES[2]
    axes.plot(
        [length for length, _ in points],
        [tasks for _, tasks in points],
        "^",
        color=colour,
        markeredgecolor=INK,
        markersize=8,
        label="from the plans",
    )
    axes.axhline(shards, color=_GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set(xlabel="ids in the list", ylabel="Citus tasks (mean)", ylim=(0, 1.08 * shards))
    axes.legend(frameon=False, loc="lower right")
    open_axes(axes)
    figure.tight_layout()
    return figure


def draw_pages(times: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Draw the time of a page against its number: a line for each way of turning pages."""
    figure = Figure(figsize=(6.4, 3.2))
    axes = figure.subplots()
    for style, (name, line) in enumerate(times.items()):
        plot_line(axes, [(page, 1000 * seconds) for page, seconds in line], style + 1, name)
    axes.set(xlabel="page", ylabel="ms", ylim=(0, None))
    axes.legend(frameon=False)
    open_axes(axes)
    figure.tight_layout()
    return figure


def draw_staleness(points: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw latency beside staleness, both in seconds, a row for each way of answering."""
    figure = Figure(figsize=(8.6, 0.9 + 0.42 * len(points)))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, part, label, colour in (
        (left, 0, "latency in ms", POSTGRES),
        (right, 1, "staleness in ms", REDIS),
    ):
        values = [1000 * pair[part] for pair in points.values()]
        axes.barh(range(len(values)), values, color=colour, edgecolor=INK, linewidth=0.6)
        for row, value in enumerate(values):
            axes.text(value, row, f" {value:.0f}", va="center", size=9, color=INK)
        axes.set(xlabel=label, xlim=(0, 1.18 * max(values)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    left.set_yticks(range(len(points)), list(points))
    left.invert_yaxis()
    figure.tight_layout()
    return figure
