"""Read drawn figures: render them, and return their texts and the values of their lines."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


def texts_of(figure: Figure) -> list[str]:
    """Render ``figure`` and return the texts inside its axes."""
    figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def x_values(line: Line2D) -> list[float]:
    """Return the x values of a line."""
    return [float(value) for value in np.asarray(line.get_xdata())]


def y_values(line: Line2D) -> list[float]:
    """Return the y values of a line."""
    return [float(value) for value in np.asarray(line.get_ydata())]
