"""One colour for each store, in every plot, table, diagram and page; and those of what is no store.

From the palette of Okabe and Ito (https://jfly.uni-koeln.de/color/), whose colours stay apart for
colour-blind readers. A store's colour stands for that store alone: what is no store has others. In
grey, the stores differ in lightness and by their hatches, other things by markers and hatches.
"""

from __future__ import annotations

from collections.abc import Mapping

from helpers.errors import StoreName

POSTGRES = "#0072B2"
MONGO = "#009E73"
REDIS = "#E69F00"
INK = "#222222"
PAPER = "#FFFFFF"

#: What stands beside what is measured, such as a limit.
GREY = "#888888"
#: What was done in vain, or not at all.
IDLE = "#DDDDDD"
#: Lines behind what is drawn, and boxes that belong to no store.
GRID = "#E5E5E5"

VERMILION = "#D55E00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
WINE = "#882255"
#: What is compared and is no store, such as ways of reading: the first, the second, ….
SERIES = (VERMILION, INK, SKY, PURPLE, WINE)

STORE_COLOURS: Mapping[StoreName, str] = {"PostgreSQL": POSTGRES, "MongoDB": MONGO, "Redis": REDIS}
#: For areas: they keep the stores apart in grey too.
STORE_HATCHES: Mapping[StoreName, str] = {"PostgreSQL": "", "MongoDB": "///", "Redis": "..."}

#: On a page, what is well, and what is not.
GOOD = "#11632B"
ALERT = "#A3200D"

#: What the storefront's page is made of, by the names in its ``style.css``: by day, and by night.
PAGE_LIGHT: Mapping[str, str] = {
    "ink": INK,
    "quiet": "#595C61",
    "paper": PAPER,
    "ground": "#F5F5F2",
    "line": "#DCDCD6",
    "control": "#8A8D92",
    "hover": "#ECECEA",
    "alert": ALERT,
    "focus": INK,
}
PAGE_DARK: Mapping[str, str] = {
    "ink": "#ECECEA",
    "quiet": "#A8ACB2",
    "paper": "#1E2125",
    "ground": "#141619",
    "line": "#363A40",
    "control": "#80858C",
    "hover": "#2A2E33",
    "alert": "#FF9D8C",
    "focus": PAPER,
}


def ink_on(colour: str) -> str:
    """Return the colour of letters on ``colour``: ``INK`` or ``PAPER``, whichever is read better.

    By the ratio of contrast of WCAG 2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
    """
    return max(INK, PAPER, key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """Return the ratio of contrast of two colours, from 1 (the same) to 21 (black and white)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2 of a colour ``#RRGGBB``: 0 is black, 1 is white."""
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(colour: str) -> tuple[float, float, float]:
    """Return how much light of red, green and blue a colour ``#RRGGBB`` of sRGB is, from 0 to 1."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return (_light(red), _light(green), _light(blue))


def tint(colour: str, share: float) -> str:
    """Return ``colour`` mixed with ``PAPER``: ``share`` of 1 is the colour itself, 0 is paper."""
    parts = [round(255 + share * (int(colour[at : at + 2], 16) - 255)) for at in (1, 3, 5)]
    return "#" + "".join(f"{part:02X}" for part in parts)


def _light(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
