"""Opening a lesson by the name of its notebook."""

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
def test_an_invalid_lesson_name_raises_settings_error_before_anything_is_created(
    wrong: str,
) -> None:
    with pytest.raises(
        SettingsError, match="is not the name of a lesson: give the notebook's name"
    ):
        open_lesson(wrong)
