"""The README's picture of a notebook can be drawn anew, and is what it was drawn as."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from helpers.authoring.picture import NOTEBOOK, PICTURE, WORDS, draw
from helpers.errors import NotebookError
from tests.browser.looking import find_browser

_MOST_BYTES = 250_000


def _size(picture: Path) -> tuple[int, int]:
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < _MOST_BYTES
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_jupyterlab_shows_the_notebook_of_the_picture(tmp_path: Path) -> None:
    drawn = tmp_path / "notebook.png"
    draw(NOTEBOOK, WORDS, drawn, browser=find_browser())
    assert _size(drawn) == _size(PICTURE)


def test_words_that_no_cell_has_are_not_looked_for_for_ever(tmp_path: Path) -> None:
    browser = find_browser()
    with pytest.raises(NotebookError, match="does not say 'no such words'"):
        draw(NOTEBOOK, "no such words", tmp_path / "notebook.png", browser=browser)
