"""Charts of the join in the application: its cost, its round trips, the staleness of its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from helpers.plots.charts import (
    STYLES,
    Points,
    in_milliseconds,
    label_rows,
    legend_above,
    legend_inside,
    one_panel,
    panels,
    plain_figure,
    plain_numbers,
    plain_scales,
    plot_bars,
    plot_line,
    plot_lines,
    round_trip_panels,
)
from helpers.plots.palette import GREY, INK, STORE_COLOURS, STORE_HATCHES
from helpers.stores.trace import STORES, Span

_MAX_ROWS = 40


def draw_waterfall(
    spans: Sequence[Span], *, total_seconds: float | None = None, unlisted: int = 0
) -> Figure:
    """Draw each round trip as a bar over time, in the colour of its store.

    Of more than 40 round trips, the first and the last are drawn, with the number of those left out
    between them. The time axis starts at the first round trip or, with ``total_seconds``, at the
    start of the request; a line marks its end after so many seconds. ``unlisted`` is the number of
    round trips after ``spans``; with it, the end is given in words instead.
    """
    first = min((span.start_seconds for span in spans), default=0.0)
    if total_seconds is not None:
        first = 0.0
    until = None if unlisted else total_seconds
    rows = _waterfall_rows(spans, unlisted)
    figure, axes = one_panel(8.2, 1.1 + 0.24 * max(3, len(rows)), grid="x")
    last = max([*(span.end_seconds for span in spans), until or first])
    end = 1000 * (last - first) or 1.0
    for row, span in enumerate(rows):
        if isinstance(span, int):
            text = f"  {span:,} more round trip{'s' if span != 1 else ''}"
            if unlisted and total_seconds is not None and row == len(rows) - 1:
                text += f"; answered after {plain_figure(1000 * total_seconds)} ms"
            axes.text(0, row, text, va="center", size=9, color=INK)
            continue
        start = 1000 * (span.start_seconds - first)
        width = 1000 * (span.end_seconds - span.start_seconds)
        axes.barh(
            row,
            max(width, 0.003 * end),
            left=start,
            height=0.72,
            color=STORE_COLOURS[span.store],
            hatch=STORE_HATCHES[span.store],
            edgecolor=INK,
            linewidth=0.5,
        )
    labels = ["⋮" if isinstance(span, int) else f"{span.store} {span.name}" for span in rows]
    axes.set_yticks(range(len(rows)), labels, size=9)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="time in ms", xlim=(-0.01 * end, 1.03 * end), ylim=(len(rows) - 0.4, -0.6))
    _waterfall_legend(axes, spans, until)
    return figure


def draw_latency(
    latency: Mapping[str, Mapping[float, Sequence[tuple[int, float]]]],
    fits: Mapping[str, Mapping[float, tuple[float, float]]] | None = None,
    round_trips: Mapping[str, Callable[[float], float]] | None = None,
) -> Figure:
    """Draw how long each strategy takes, by the number of products: a panel per round-trip time.

    ``latency`` holds for each strategy, by round-trip time in ms, pairs of the number of products
    and seconds, drawn as points. ``fits`` holds the seconds (a, b) of the dashed line a + b · r, if
    ``round_trips`` maps each strategy to a function from the number of products to the number of
    round trips r; without it, the line is a + b · n for n products.
    """
    times = {milliseconds for lines in latency.values() for milliseconds in lines}
    figure, by_time = round_trip_panels(times, width=2.8, ylabel="time in ms")
    for milliseconds, axes in by_time.items():
        for index, (strategy, lines) in enumerate(latency.items()):
            points = [(n, 1000 * seconds) for n, seconds in sorted(lines.get(milliseconds, ()))]
            fit = (fits or {}).get(strategy, {}).get(milliseconds)
            plot_line(axes, points, index, strategy, joined=fits is None)
            if fit is not None and points:
                _plot_fit(axes, points, fit, index, (round_trips or {}).get(strategy, float))
        plain_scales(axes)
    first = next(iter(by_time.values()))
    if fits is not None:
        label = "fitted: a + b · " + ("round trips" if round_trips else "products")
        first.plot([], [], color=GREY, linestyle="--", label=label)
    legend_above(figure, first)
    return figure


def draw_crossover(lines: Mapping[str, Points], crossover: float | None = None) -> Figure:
    """Draw the cost of each order of the semi-join, by the selectivity of the first store.

    ``lines`` holds for each order pairs of the selectivity, from 0 to 1, and seconds; at the
    selectivity ``crossover`` both orders cost the same.
    """
    figure, axes = one_panel(7.2, 4.0, grid="both")
    percent = {order: [(100 * share, y) for share, y in line] for order, line in lines.items()}
    plot_lines(axes, in_milliseconds(percent))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="products that meet the condition, in %",
        ylabel="time in ms",
    )
    plain_scales(axes)
    if crossover is not None:
        axes.axvline(100 * crossover, color=INK, linewidth=1, linestyle=(0, (1, 2)), zorder=0)
        axes.text(
            *(100 * crossover, 1.01, f"equal at {100 * crossover:.2g} %"),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            size=10,
            color=INK,
        )
    legend_inside(axes)
    return figure


def draw_staleness(points: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw how long each way to read takes and how stale its result may be: two bars each.

    ``points`` holds both for each way, in seconds. They differ by orders of magnitude, and one may
    be zero, so each has its own panel and scale, with the numbers at the bars.
    """
    figure, both = panels(2, 8.6, 1.2 + 0.5 * len(points), sharey=True)
    titles = ("time until the answer, in ms", "age of the answer, in ms")
    for number, (axes, title) in enumerate(zip(both, titles, strict=True)):
        values = [1000 * point[number] for point in points.values()]
        most = plot_bars(axes, values, list(map(plain_figure, values)), number)
        axes.set(xlabel=title, xlim=(0, 1.2 * most))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        plain_numbers(axes.xaxis)
    label_rows(both[0], list(points))
    return figure


def draw_pages(times: Mapping[str, Points]) -> Figure:
    """Draw how long a page takes, by its number: a line per kind of pagination.

    ``times`` holds for each kind, such as "after the last id" and "OFFSET", pairs of the page
    number and seconds.
    """
    figure, axes = one_panel(7.2, 3.8, grid="y")
    plot_lines(axes, in_milliseconds(times))
    axes.set(xlabel="page", ylabel="time in ms")
    # Leave room for the legend above the highest line.
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_inside(axes)
    return figure


def _plot_fit(
    axes: Axes,
    points: Points,
    fit: tuple[float, float],
    index: int,
    factor: Callable[[float], float],
) -> None:
    """Plot the line a + b · factor(n), in seconds, over the width of ``points``."""
    (low, _), (high, _) = points[0], points[-1]
    steps = [low * (high / low) ** (step / 50) for step in range(51)]
    axes.plot(
        *(steps, [1000 * (fit[0] + fit[1] * factor(n)) for n in steps]),
        color=STYLES[index % len(STYLES)][0],
        linestyle="--",
        linewidth=1.3,
        zorder=1,
    )


def _waterfall_rows(spans: Sequence[Span], unlisted: int) -> list[Span | int]:
    """Return the rows of a waterfall: a round trip, or the number of those left out there."""
    ordered = sorted(spans, key=lambda span: span.start_seconds)
    rows: list[Span | int] = [*ordered]
    if len(ordered) > _MAX_ROWS:
        head, tail = ordered[: _MAX_ROWS - 8], ordered[-7:]
        rows = [*head, len(ordered) - len(head) - len(tail), *tail]
    return [*rows, unlisted] if unlisted > 0 else rows


def _waterfall_legend(axes: Axes, spans: Sequence[Span], until: float | None) -> None:
    stores = [store for store in STORES if any(span.store == store for span in spans)]
    handles: list[Artist] = [
        Patch(
            facecolor=STORE_COLOURS[store],
            hatch=STORE_HATCHES[store],
            edgecolor=INK,
            linewidth=0.5,
            label=store,
        )
        for store in stores
    ]
    if until is not None:
        label = f"answered after {plain_figure(1000 * until)} ms"
        handles.append(axes.axvline(1000 * until, color=INK, linestyle="--", label=label))
    axes.legend(
        handles=handles, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )
