"""What all charts share: showing a figure, line styles, axes, legends, descriptions in words."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from helpers.plots.palette import GREY, GRID, INK, PAPER, PURPLE, SERIES, SKY

#: The points of a line: pairs of x and y.
Points = Sequence[tuple[float, float]]

#: The axes that have grid lines.
Grid = Literal["x", "y", "both"]

_DPI = 110

_MARKS: tuple[tuple[str, Any], ...] = (
    ("o", "-"),
    ("s", "--"),
    ("^", "-."),
    ("D", ":"),
    ("v", (0, (5, 1, 1, 1, 1, 1))),
    ("P", (0, (6, 2))),
    ("X", (0, (1, 1))),
    ("*", (0, (3, 1, 1, 1))),
)

#: Colour, marker and dashes of the first line, the second, …: distinct in greyscale, too, since
#: markers differ even if a colour is repeated.
STYLES: tuple[tuple[str, str, Any], ...] = tuple(
    (SERIES[number % len(SERIES)], *marks) for number, marks in enumerate(_MARKS)
)

#: Colour and hatch of the bars of the first panel, the second, ….
_BARS = ((SKY, ""), (PURPLE, "///"), (GREY, "..."))


def show(figure: Figure, *, alt: str) -> None:
    """Display ``figure`` in a notebook; ``alt`` describes it in words.

    The text is stored with the image, for screen readers and for readers of the file. nbval
    compares the text, not the image.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, bbox_inches="tight", facecolor=PAPER)
    display(
        {"image/png": picture.getvalue(), "text/plain": alt},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


# Figures are displayed by ``show`` only: matplotlib must not display them at the end of a cell.
mpl.use("agg")


def describe_lines(lines: Mapping[str, Points], across: str, up: str) -> str:
    """Return a description of a line chart: the points of each line, by name.

    ``across`` and ``up`` name what the x and the y axis show.
    """
    described = [
        f"{name}: " + ", ".join(f"{plain_figure(x)}: {plain_figure(y)}" for x, y in sorted(line))
        for name, line in lines.items()
    ]
    return f"By {across}, the {up}. " + "; ".join(described) + "."


def plot_line(axes: Axes, points: Points, style: int, label: str, *, joined: bool = True) -> None:
    """Plot ``points`` in the style with this number, from 0; with ``joined``, as a line."""
    colour, marker, dashes = STYLES[style % len(STYLES)]
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        color=colour,
        marker=marker,
        markersize=6,
        markeredgecolor=INK,
        markeredgewidth=0.5,
        linestyle=dashes if joined else "none",
        linewidth=1.8,
        label=label,
    )


def plot_lines(axes: Axes, lines: Mapping[str, Points]) -> None:
    """Plot each line, by its name, in a different style."""
    for style, (name, points) in enumerate(lines.items()):
        plot_line(axes, sorted(points), style, name)


def in_milliseconds(lines: Mapping[str, Points]) -> dict[str, Points]:
    """Return ``lines`` with their y values, in seconds, converted to milliseconds."""
    return {name: [(x, 1000 * seconds) for x, seconds in line] for name, line in lines.items()}


def panels(
    count: int, width: float, height: float, *, grid: Grid | None = None, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of this size in inches with some panels side by side, laid out when drawn.

    The panels have open axes; ``options`` are those of ``Figure.subplots``.
    """
    figure = Figure(figsize=(width, height), layout="tight")
    found = list(figure.subplots(1, count, squeeze=False, **options)[0])
    for axes in found:
        open_axes(axes, grid)
    return figure, found


def one_panel(width: float, height: float, *, grid: Grid | None = None) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches with one panel, and the panel."""
    figure, (axes,) = panels(1, width, height, grid=grid)
    return figure, axes


def round_trip_panels(
    round_trips: Iterable[float], *, width: float, ylabel: str
) -> tuple[Figure, dict[float, Axes]]:
    """Return a figure with a panel for each round-trip time in ms, with logarithmic scales."""
    times = sorted(round_trips)
    figure, found = panels(len(times), 0.8 + width * len(times), 3.6, grid="y", sharey=True)
    for axes, milliseconds in zip(found, times, strict=True):
        axes.set(xscale="log", yscale="log", xlabel="products")
        axes.set_title(f"{milliseconds:g} ms a round trip" if milliseconds else "no delay", size=11)
    found[0].set_ylabel(ylabel)
    return figure, dict(zip(times, found, strict=True))


def plot_bars(axes: Axes, values: Sequence[float], texts: Sequence[str], panel: int) -> float:
    """Plot horizontal bars in the look of a panel, with texts at their ends; return the maximum."""
    colour, hatch = _BARS[panel % len(_BARS)]
    rows = range(len(values))
    axes.barh(rows, values, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.6)
    most = max([*values, 1e-9])
    for row, value, text in zip(rows, values, texts, strict=True):
        axes.text(value + 0.02 * most, row, text, va="center", size=9.5, color=INK)
    axes.tick_params(axis="y", length=0)
    return most


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label the rows of a chart of horizontal bars with ``names``, from top to bottom."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def plain_numbers(*scales: Axis) -> None:
    """Label the axes with plain numbers such as 1,000, not with powers of ten."""
    for scale in scales:
        scale.set_major_formatter(FuncFormatter(_plain))


def plain_figure(value: float) -> str:
    """Return ``value`` for a label: with three significant digits, or all digits from 1,000 on."""
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def plain_scales(axes: Axes) -> None:
    """Label logarithmic axes with plain numbers: powers of ten, plus 2 and 5 if those are few."""
    for scale, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        parts = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
        scale.set_major_locator(LogLocator(subs=parts))
        scale.set_minor_formatter(NullFormatter())
    plain_numbers(axes.xaxis, axes.yaxis)


def open_axes(axes: Axes, grid: Grid | None = "y") -> None:
    """Remove the top and right spines, and draw a light grid for the given axes."""
    if grid is not None:
        axes.grid(axis=grid, color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_inside(axes: Axes, **options: Any) -> None:
    """Draw the legend of ``axes`` without a frame, with ``options`` of ``Axes.legend``."""
    axes.legend(**{"frameon": False, "handlelength": 3.5, **options})


def legend_above(figure: Figure, axes: Axes) -> None:
    """Draw the legend of ``axes`` above the figure."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        frameon=False,
        ncols=len(names),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        handlelength=3.5,
    )


def _plain(value: float, _: object) -> str:
    return f"{value:,.10g}"
