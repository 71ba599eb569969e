"""The chart of the tour: a product's fields, each in the colour of the store it comes from."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from helpers.catalog.model import ProductJSON
from helpers.plots.palette import INK, MONGO, POSTGRES, REDIS, ink_on


def draw_origins(product: ProductJSON) -> Figure:
    """Draw one product as the API returns it, each field in the colour of its store."""
    figure = Figure(figsize=(9.5, 4.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 19), ylim=(0, 9.2))
    axes.axis("off")
    metadata = product["metadata"] or {}
    _store_box(axes, 6.5, POSTGRES, "PostgreSQL", "table products")
    _store_box(axes, 3.4, MONGO, "MongoDB", "collection productmetas")
    _store_box(axes, 0.3, REDIS, "Redis", f"key stock:{product['id']}")
    lines: list[tuple[str, str | None]] = [
        ("{", None),
        *((f'  "{name}": {_json(product[name])},', POSTGRES) for name in ("id", "name", "price")),
        ('  "metadata": {', MONGO),
        *((f'    "{name}": {_json(value)},', MONGO) for name, value in metadata.items()),
        ("  },", MONGO),
        (f'  "stock": {_json(product["stock"])}', REDIS),
        ("}", None),
    ]
    _write_lines(axes, lines)
    return figure


def _store_box(axes: Axes, bottom: float, colour: str, name: str, place: str) -> None:
    ink = ink_on(colour)
    axes.add_patch(
        FancyBboxPatch(
            (0.4, bottom), 4.6, 2.3, boxstyle="round,pad=0,rounding_size=0.25", fc=colour, lw=0
        )
    )
    axes.text(2.7, bottom + 1.45, name, ha="center", va="center", color=ink, size=13, weight="bold")
    axes.text(2.7, bottom + 0.7, place, ha="center", va="center", color=ink, size=9.5)


def _write_lines(axes: Axes, lines: list[tuple[str, str | None]]) -> None:
    step = 8.6 / len(lines)
    middles: dict[str, list[float]] = {}
    for index, (text, colour) in enumerate(lines):
        y = 8.9 - (index + 0.5) * step
        if colour is not None:
            axes.add_patch(
                Rectangle((7.3, y - step / 2), 0.14, step, facecolor=colour, linewidth=0)
            )
            middles.setdefault(colour, []).append(y)
        shown = textwrap.shorten(text.strip(), 66, placeholder=" …")
        indent = len(text) - len(text.lstrip())
        axes.text(
            7.75 + 0.17 * indent, y, shown, va="center", color=INK, size=10, family="monospace"
        )
    for colour, bottom in ((POSTGRES, 6.5), (MONGO, 3.4), (REDIS, 0.3)):
        target = sum(middles[colour]) / len(middles[colour])
        axes.add_patch(
            FancyArrowPatch(
                (5.05, bottom + 1.15),
                (7.2, target),
                arrowstyle="-|>",
                color=colour,
                lw=2.2,
                mutation_scale=16,
                connectionstyle="arc3,rad=0.0",
            )
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
