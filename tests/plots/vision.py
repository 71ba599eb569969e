"""Simulate colour-blindness and greyscale, and measure the distance between colours.

The matrices are those of G. M. Machado, M. M. Oliveira and L. A. F. Fernandes, "A Physiologically-
based Model for Simulation of Color Vision Deficiency", IEEE TVCG 15 (6), 2009, for a severity of
1.0 (https://www.inf.ufrgs.br/~oliveira/pubs_files/CVD_Simulation/CVD_Simulation.html). They apply
to linear light, so sRGB values are made linear first. Distances are in CIELAB (CIE 1976, D65).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence

from helpers.plots.palette import linear

Matrix = Sequence[Sequence[float]]

VISIONS: Mapping[str, Matrix] = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)


def distance(one: str, other: str, vision: str) -> float:
    """Return the distance of two colours ``#RRGGBB`` in CIELAB, as seen with a vision."""
    return math.dist(_lab(one, VISIONS[vision]), _lab(other, VISIONS[vision]))


def lightness(colour: str) -> float:
    """Return the lightness L* of a colour, which greyscale preserves: 0 to 100."""
    return _lab(colour, VISIONS["all colours"])[0]


def _lab(colour: str, vision: Matrix) -> tuple[float, float, float]:
    light = [min(1.0, max(0.0, part)) for part in _times(vision, linear(colour))]
    x, y, z = (
        _root(part / white) for part, white in zip(_times(_TO_XYZ, light), _WHITE, strict=True)
    )
    return (116 * y - 16, 500 * (x - y), 200 * (y - z))


def _times(matrix: Matrix, vector: Sequence[float]) -> list[float]:
    return [sum(map(operator.mul, row, vector)) for row in matrix]


def _root(value: float) -> float:
    return math.cbrt(value) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116
