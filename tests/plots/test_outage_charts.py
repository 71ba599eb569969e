"""The chart of an outage: what it shows of the samples, and its description in words."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from helpers.lab.availability import Availability, Sample
from helpers.plots.outage_charts import describe_availability, draw_availability

FOUND = Availability(
    [
        Sample(0.1, 0.01, "whole"),
        Sample(0.2, 0.02, "refused"),
        Sample(0.6, 0.03, "partial"),
        Sample(0.7, 2.0, "none"),
    ],
    [(0.15, "Redis is frozen")],
)


def test_shares_add_up_to_one_and_each_sample_has_a_point() -> None:
    figure = draw_availability({"with": FOUND, "without": FOUND})
    figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    assert len(figure.axes) == 4
    shares, latencies = figure.axes[:2]
    bars = [bar for bar in shares.patches if isinstance(bar, Rectangle)]
    assert max(bar.get_y() + bar.get_height() for bar in bars) == pytest.approx(1.0)
    heights = {round(float(bar.get_height()), 3) for bar in bars}
    assert heights == {0.0, 0.5}
    points = [
        len(np.asarray(line.get_xdata()))
        for line in latencies.lines
        if line.get_linestyle() == "None"
    ]
    assert points == [1, 1, 1, 1]
    assert [text.get_text() for text in shares.texts] == ["Redis is frozen"]


def test_availability_without_samples_can_be_drawn() -> None:
    draw_availability({"nothing": Availability()}).savefig(io.BytesIO(), format="png")
    assert describe_availability({"nothing": Availability()}) == "nothing: nothing was asked."


def test_the_description_counts_each_kind() -> None:
    description = describe_availability({"with": FOUND})
    assert description == "with: 1 whole, 1 partial, 1 refused, 1 none."
