"""A word of a lesson, followed to its entry in the glossary, in JupyterLab in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.lab.conftest import PATIENCE_MS, Lab, open_notebook

pytestmark = pytest.mark.servers


def test_a_word_leads_to_its_entry_and_the_entry_to_a_lesson(lab: Lab, page: Page) -> None:
    """Words of several parts, too: JupyterLab makes a heading's anchor by a rule of its own."""
    open_notebook(page, lab.address("notebooks/01_citus_sharding.ipynb"))
    page.get_by_role("link", name="distribution column", exact=True).click()
    glossary = page.locator(".jp-MarkdownViewer")
    heading = glossary.get_by_role("heading", name="distribution column")
    expect(heading).to_be_in_viewport(timeout=PATIENCE_MS)
    expect(glossary.get_by_role("heading", name="Glossary")).not_to_be_in_viewport()
    glossary.get_by_role("link", name="lesson 04").first.click()
    expect(page.get_by_role("tab", name="04_app_layer_joins.ipynb")).to_be_visible()
