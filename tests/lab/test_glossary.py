"""A word of a lesson, followed to its entry in the glossary, in JupyterLab in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.lab.conftest import Lab

pytestmark = pytest.mark.servers

_PATIENCE_MS = 60_000
_READY = "Python 3 (ipykernel) | Idle"


def test_a_word_leads_to_its_entry_and_the_entry_to_a_lesson(lab: Lab, browser: Browser) -> None:
    """Words of several parts, too: JupyterLab makes a heading's anchor by a rule of its own."""
    with browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(lab.address("notebooks/01_citus_sharding.ipynb"))
        expect(page.get_by_text(_READY)).to_be_visible(timeout=_PATIENCE_MS)
        page.get_by_role("link", name="distribution column", exact=True).click()
        glossary = page.locator(".jp-MarkdownViewer")
        heading = glossary.get_by_role("heading", name="distribution column")
        expect(heading).to_be_in_viewport(timeout=_PATIENCE_MS)
        expect(glossary.get_by_role("heading", name="Glossary")).not_to_be_in_viewport()
        glossary.get_by_role("link", name="lesson 04").first.click()
        expect(page.get_by_role("tab", name="04_app_layer_joins.ipynb")).to_be_visible()
