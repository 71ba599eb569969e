"""What drawings of lines have in common: styles that stay apart in grey too, legends, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from helpers.faces.palette import INK, MONGO, POSTGRES, REDIS

_PURPLE = "#CC79A7"
_VERMILION = "#D55E00"
_SKY = "#56B4E9"
_GREY = "#888888"

#: Colour, marker and dashes of the first line, the second, ….
STYLES: tuple[tuple[str, str, Any], ...] = (
    (REDIS, "o", "-"),
    (INK, "s", "--"),
    (POSTGRES, "^", "-."),
    (MONGO, "D", ":"),
    (_PURPLE, "v", (0, (5, 1, 1, 1, 1, 1))),
    (_VERMILION, "P", (0, (6, 2))),
    (_SKY, "X", (0, (1, 1))),
    (_GREY, "*", (0, (3, 1, 1, 1))),
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


def plain_numbers(axes: Axes) -> None:
    """Write 1000 on the axes, and not a power of ten."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_plain))


def open_axes(axes: Axes) -> None:
    """Draw the axes without a frame, with a light grid behind."""
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.7)
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


def _plain(value: float, _: object) -> str:
    return f"{value:g}"
