"""The palette: one colour per store in every plot, table, diagram and page, and other colours.

The colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind
readers can distinguish. A store's colour is used for that store only. In greyscale, stores differ
by lightness and hatch, other things by marker and hatch.
"""

from __future__ import annotations

from collections.abc import Mapping

from helpers.errors import StoreName

POSTGRES = "#0072B2"
MONGO = "#009E73"
REDIS = "#E69F00"
INK = "#222222"
PAPER = "#FFFFFF"

#: References next to the data, such as a limit.
GREY = "#888888"
#: Work without a result, or not done.
IDLE = "#DDDDDD"
#: Grid lines, and boxes that belong to no store.
GRID = "#E5E5E5"

VERMILION = "#D55E00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
WINE = "#882255"
#: Series that are not stores, such as strategies: the first, the second, ….
SERIES = (VERMILION, INK, SKY, PURPLE, WINE)

STORE_COLOURS: Mapping[StoreName, str] = {"PostgreSQL": POSTGRES, "MongoDB": MONGO, "Redis": REDIS}
#: Hatches of areas, which distinguish the stores in greyscale.
STORE_HATCHES: Mapping[StoreName, str] = {"PostgreSQL": "", "MongoDB": "///", "Redis": "..."}

#: Success and failure, on web pages.
GOOD = "#11632B"
ALERT = "#A3200D"


def ink_on(colour: str) -> str:
    """Return the text colour for a background: ``INK`` or ``PAPER``, whichever has more contrast.

    Contrast is the ratio of WCAG 2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
    """
    return max(INK, PAPER, key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 (identical) to 21 (black and white)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return the WCAG 2 relative luminance of a colour ``#RRGGBB``: 0 is black, 1 is white."""
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(colour: str) -> tuple[float, float, float]:
    """Return the linear red, green and blue, from 0 to 1, of an sRGB colour ``#RRGGBB``."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return (_light(red), _light(green), _light(blue))


def tint(colour: str, share: float) -> str:
    """Return ``colour`` mixed with ``PAPER``: ``share`` is 1 for the colour itself, 0 for paper."""
    parts = [round(255 + share * (int(colour[at : at + 2], 16) - 255)) for at in (1, 3, 5)]
    return "#" + "".join(f"{part:02X}" for part in parts)


def _light(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
