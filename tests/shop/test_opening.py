"""Opening a lesson: by its notebook's name alone."""

from __future__ import annotations

import pytest

from helpers import open_lesson
from helpers.errors import SettingsError


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "tour", "00", "00_", "0_tour", "09_next", "10_next", "00_Tour", "00-tour"),
        *("00_tour.ipynb", "00_tour\n", '00_"; DROP', "00_" + 51 * "a"),
    ],
)
def test_what_names_no_lesson_is_refused_before_anything_is_made(wrong: str) -> None:
    with pytest.raises(SettingsError, match="names no lesson: give the notebook's name"):
        open_lesson(wrong)
