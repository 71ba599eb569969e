"""One colour for each store, in every plot, table and page; and those of what is no store.

From the palette of Okabe and Ito (https://jfly.uni-koeln.de/color/), whose colours stay apart for
colour-blind readers; in grey, these three differ in lightness.
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
GRID = "#E5E5E5"

STORE_COLOURS: Mapping[StoreName, str] = {"PostgreSQL": POSTGRES, "MongoDB": MONGO, "Redis": REDIS}
#: For areas: they keep the stores apart in grey too.
STORE_HATCHES: Mapping[StoreName, str] = {"PostgreSQL": "", "MongoDB": "///", "Redis": "..."}
