"""The README's picture of a notebook can be drawn anew, and is what it was drawn as."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from course.authoring import screenshot
from course.authoring.screenshot import NOTEBOOK, PICTURE, WORDS, draw
from helpers.errors import NotebookError
from tests.e2e.browser.looking import find_browser

pytestmark = pytest.mark.verify

_MOST_BYTES = 250_000

# What JupyterLab's page has of a notebook, as far as it is looked at.
_LAB = """<p>Python 3 (ipykernel) | Idle</p>
<div class="jp-Notebook" style="padding: 3000px 0">
  <div class="jp-RenderedMarkdown"><p>Some words</p></div>
</div>"""


def _size(picture: Path) -> tuple[int, int]:
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < _MOST_BYTES
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_jupyterlab_shows_the_notebook_of_the_picture(tmp_path: Path) -> None:
    drawn = tmp_path / "notebook.png"
    browser = find_browser()
    # It begins Playwright, which may run in this thread already.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(draw, NOTEBOOK, WORDS, drawn, browser=browser).result()
    assert _size(drawn) == _size(PICTURE)


def test_words_that_no_cell_has_are_not_looked_for_for_ever(browser: Browser) -> None:
    with browser.new_page() as page:
        page.set_content(_LAB)
        with pytest.raises(NotebookError, match="does not say 'no such words'"):
            screenshot.show(page, "no such words", screens=3)
        screenshot.show(page, "Some words", screens=3)
        assert page.evaluate("() => scrollY") > 0, "they stand at the top"
