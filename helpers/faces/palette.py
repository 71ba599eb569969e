"""One colour for each store, in every plot, table and page.

From the palette of Okabe and Ito (https://jfly.uni-koeln.de/color/), whose colours stay apart for
colour-blind readers; in grey, these three differ in lightness.
"""

POSTGRES = "#0072B2"
MONGO = "#009E73"
REDIS = "#E69F00"
INK = "#222222"
PAPER = "#FFFFFF"
