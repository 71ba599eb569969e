"""Drawings of a join in the application: what it costs, where the time goes, how old it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from helpers.plots.line_charts import (
    STYLES,
    legend_above,
    legend_beside,
    open_axes,
    plain_figure,
    plain_numbers,
    plain_scales,
    plot_line,
)
from helpers.plots.palette import (
    GREY,
    INK,
    PURPLE,
    SKY,
    STORE_COLOURS,
    STORE_HATCHES,
)
from helpers.stores.trace import STORES, Span

_MOST_ROWS = 40


def draw_growth(times: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Draw how long each way to the answer takes, by the number of products.

    ``times`` holds for each way pairs of the number of products and seconds.
    """
    figure = Figure(figsize=(7.4, 4.4))
    axes = figure.subplots()
    for index, (way, line) in enumerate(times.items()):
        plot_line(axes, [(count, 1000 * seconds) for count, seconds in sorted(line)], index, way)
    axes.set(xscale="log", yscale="log", xlabel="products", ylabel="time in ms")
    plain_scales(axes)
    open_axes(axes, "both")
    legend_beside(axes)
    figure.tight_layout()
    return figure


def draw_waterfall(
    spans: Sequence[Span], *, total_seconds: float | None = None, unlisted: int = 0
) -> Figure:
    """Draw each round trip as a bar in time, one below the other, in the colour of its store.

    Of more than 40 the first and the last are drawn, and between them how many are left out.
    Time begins with the first; or, with ``total_seconds``, with the request that they were for,
    which took so long: a line stands where it ends. ``unlisted`` is how many round trips came after
    ``spans``: then these have the width, and the end is told in words.
    """
    first = min((span.start_seconds for span in spans), default=0.0)
    if total_seconds is not None:
        first = 0.0
    until = None if unlisted else total_seconds
    rows = _waterfall_rows(spans, unlisted)
    figure = Figure(figsize=(8.2, 1.1 + 0.24 * max(3, len(rows))))
    axes = figure.subplots()
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
    open_axes(axes, "x")
    _waterfall_legend(axes, spans, until)
    figure.tight_layout()
    return figure


def draw_latency(
    latency: Mapping[str, Mapping[float, Sequence[tuple[int, float]]]],
    fits: Mapping[str, Mapping[float, tuple[float, float]]] | None = None,
    round_trips: Mapping[str, Callable[[float], float]] | None = None,
) -> Figure:
    """Draw how long each strategy takes, by the number of products: a panel per round-trip time.

    ``latency`` holds for each strategy, by round-trip time in ms, pairs of the number of products
    and seconds: these are the points. ``fits`` holds the seconds (a, b) of the dashed line
    a + b · r, where ``round_trips`` says for each strategy how many round trips r it takes for n
    products; without it, the line is a + b · n.
    """
    trips = sorted({trip for lines in latency.values() for trip in lines})
    figure = Figure(figsize=(0.8 + 2.8 * len(trips), 3.6))
    all_axes = figure.subplots(1, len(trips), sharey=True, squeeze=False)[0]
    for axes, trip in zip(all_axes, trips, strict=True):
        for index, (strategy, lines) in enumerate(latency.items()):
            points = [(n, 1000 * seconds) for n, seconds in sorted(lines.get(trip, ()))]
            fit = (fits or {}).get(strategy, {}).get(trip)
            plot_line(axes, points, index, strategy, joined=fits is None)
            if fit is not None and points:
                _dash(axes, points, fit, index, (round_trips or {}).get(strategy, float))
        axes.set(xscale="log", yscale="log", xlabel="products")
        axes.set_title(f"{trip:g} ms a round trip" if trip else "no delay", size=11)
        plain_scales(axes)
        open_axes(axes)
    all_axes[0].set_ylabel("time in ms")
    if fits is not None:
        label = "fitted: a + b · " + ("round trips" if round_trips else "products")
        all_axes[0].plot([], [], color=GREY, linestyle="--", label=label)
    figure.tight_layout()
    legend_above(figure, all_axes[0])
    return figure


def draw_crossover(
    lines: Mapping[str, Sequence[tuple[float, float]]], crossover: float | None = None
) -> Figure:
    """Draw what each order of the semi-join costs, by the share of products that the first keeps.

    ``lines`` holds for each order pairs of the selectivity, from 0 to 1, and seconds; at
    ``crossover`` the cheaper order changes.
    """
    figure = Figure(figsize=(7.2, 4.0))
    axes = figure.subplots()
    for index, (order, line) in enumerate(lines.items()):
        points = [(100 * share, 1000 * seconds) for share, seconds in sorted(line)]
        plot_line(axes, points, index, order)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="products that meet the condition, in %",
        ylabel="time in ms",
    )
    plain_scales(axes)
    open_axes(axes, "both")
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
    axes.legend(frameon=False, handlelength=3.5)
    figure.tight_layout()
    return figure


def draw_staleness(points: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw for each way how long a reader waits and how old the answer may be: two bars each.

    ``points`` holds for each way the seconds of both. They differ by orders of magnitude, and one
    may be zero: each has a panel and a scale of its own, and its figures beside the bars.
    """
    figure = Figure(figsize=(8.6, 1.2 + 0.5 * len(points)))
    all_axes = figure.subplots(1, 2, sharey=True)
    looks = (
        ("time until the answer, in ms", SKY, ""),
        ("age of the answer, in ms", PURPLE, "///"),
    )
    for number, (axes, (title, colour, hatch)) in enumerate(zip(all_axes, looks, strict=True)):
        values = [1000 * point[number] for point in points.values()]
        most = max([*values, 1e-9])
        axes.barh(
            range(len(values)), values, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.6
        )
        for row, value in enumerate(values):
            axes.text(
                value + 0.02 * most,
                row,
                plain_figure(value),
                va="center",
                size=9.5,
                color=INK,
            )
        axes.set(xlabel=title, xlim=(0, 1.2 * most))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        plain_numbers(axes.xaxis)
        axes.tick_params(axis="y", length=0)
        open_axes(axes, None)
    all_axes[0].set_yticks(range(len(points)), list(points))
    all_axes[0].invert_yaxis()
    figure.tight_layout()
    return figure


def draw_pages(times: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Draw how long a page takes, by its number: a line for each way of finding where it begins.

    ``times`` holds for each way, such as "after the last id" and "OFFSET", pairs of the number of
    the page and seconds.
    """
    figure = Figure(figsize=(7.2, 3.8))
    axes = figure.subplots()
    for index, (way, line) in enumerate(times.items()):
        plot_line(axes, [(page, 1000 * seconds) for page, seconds in sorted(line)], index, way)
    axes.set(xlabel="page", ylabel="time in ms")
    # Above the highest line there is room for the legend.
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, handlelength=3.5)
    open_axes(axes)
    figure.tight_layout()
    return figure


def _dash(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    fit: tuple[float, float],
    index: int,
    factor: Callable[[float], float],
) -> None:
    """Draw the line a + b · factor(n), in seconds, over the width of ``points``."""
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
    """Return what stands in each row: a round trip, or how many of them are left out there."""
    ordered = sorted(spans, key=lambda span: span.start_seconds)
    rows: list[Span | int] = [*ordered]
    if len(ordered) > _MOST_ROWS:
        head, tail = ordered[: _MOST_ROWS - 8], ordered[-7:]
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
