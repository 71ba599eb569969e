"""What drawings of lines have in common: styles that stay apart in grey too, legends, axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from helpers.plots.palette import GRID, INK, SERIES

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

#: Colour, marker and dashes of the first line, the second, …. Colours may come again, marks do not.
STYLES: tuple[tuple[str, str, Any], ...] = tuple(
    (SERIES[number % len(SERIES)], *marks) for number, marks in enumerate(_MARKS)
)


def plot_line(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    style: int,
    label: str,
    *,
    joined: bool = True,
) -> None:
    """Plot ``points`` in the style of that number, counted from 0; unjoined, without the line."""
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


def plain_numbers(*scales: Axis) -> None:
    """Write 1,000 at the scales, and not a power of ten."""
    for scale in scales:
        scale.set_major_formatter(FuncFormatter(_plain))


def plain_figure(value: float) -> str:
    """Return ``value`` as it is written beside what it belongs to: three digits, or all of more."""
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def describe_lines(lines: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """Return in words what is drawn as lines: the points of each, by its name.

    ``across`` and ``up`` say what the first and the second number of a point are.
    """
    said = [
        f"{name}: " + ", ".join(f"{plain_figure(x)}: {plain_figure(y)}" for x, y in sorted(line))
        for name, line in lines.items()
    ]
    return f"By {across}, the {up}. " + "; ".join(said) + "."


def plain_scales(axes: Axes) -> None:
    """Write plain numbers at logarithmic scales: powers of ten, and 2 and 5 where these are few."""
    for scale, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        parts = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
        scale.set_major_locator(LogLocator(subs=parts))
        scale.set_minor_formatter(NullFormatter())
    plain_numbers(axes.xaxis, axes.yaxis)


def open_axes(axes: Axes, grid: Literal["x", "y", "both"] | None = "y") -> None:
    """Draw the axes without a frame; behind, a light grid across the scales that ``grid`` names."""
    if grid is not None:
        axes.grid(axis=grid, color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_above(figure: Figure, axes: Axes) -> None:
    """Put the legend of ``axes`` above the figure."""
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


def legend_beside(axes: Axes) -> None:
    """Put the legend of ``axes`` to their right."""
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=4)


def _plain(value: float, _: object) -> str:
    return f"{value:,.10g}"
