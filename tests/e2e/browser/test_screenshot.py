"""The README's screenshot of a notebook can be taken again, and has the same size."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from course.authoring import screenshot
from course.authoring.screenshot import NOTEBOOK, PICTURE, WORDS, take_screenshot
from helpers.errors import NotebookError
from tests.e2e.browser.looking import find_browser

pytestmark = pytest.mark.verify

_MOST_BYTES = 250_000

# A page with the parts of JupyterLab's that the screenshot looks for.
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


def test_the_screenshot_of_the_notebook_can_be_taken_again(tmp_path: Path) -> None:
    taken = tmp_path / "notebook.png"
    browser = find_browser()
    # In another thread, since Playwright may already run in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(take_screenshot, NOTEBOOK, WORDS, taken, browser=browser).result()
    assert _size(taken) == _size(PICTURE)


def test_words_that_no_cell_contains_are_refused(browser: Browser) -> None:
    with browser.new_page() as page:
        page.set_content(_LAB)
        with pytest.raises(NotebookError, match="does not contain 'no such words'"):
            screenshot.scroll_to(page, "no such words", screens=3)
        screenshot.scroll_to(page, "Some words", screens=3)
        assert page.evaluate("() => scrollY") > 0, "the words are at the top"
