"""Notebooks in JupyterLab in a browser: some are run there, of all others the outputs are shown.

That every cell of every notebook runs, and has the output that is stored, is seen by nbval.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.settings import PROJECT
from tests.e2e.browser.looking import keep_screenshot
from tests.e2e.jupyterlab.conftest import PATIENCE_MS, RUN, Lab, notebooks, open_notebook, open_tab
from tests.e2e.jupyterlab.outputs import Shown, stored_outputs

pytestmark = [pytest.mark.servers, pytest.mark.verify]

_RUN_MS = 900_000  # a guard against what hangs, and no measure

# What the notebook's panel holds, whether it is in view or not.
_STATES = """(panel) => [...panel.querySelectorAll(".jp-CodeCell")].map((cell) => ({
    prompt: cell.querySelector(".jp-InputPrompt")?.textContent.trim() ?? "",
    failed: cell.querySelectorAll(
        '[data-mime-type="application/vnd.jupyter.error"], ' +
        '[data-mime-type="application/vnd.jupyter.stderr"]'
    ).length,
}))"""

# What each output of each cell of code looks like. An image that cannot be decoded has no width.
_OUTPUTS = """(panel) => [...panel.querySelectorAll(".jp-CodeCell")].map((cell) =>
    [...cell.querySelectorAll(".jp-OutputArea-output")].map((output) => ({
        kind: output.dataset.mimeType,
        texts: output.querySelector("td, th")
            ? [...output.querySelectorAll("td, th")].map((field) => field.textContent.trim())
            : [output.textContent.trim()],
        pictures: [...output.querySelectorAll("img")].filter(
            (image) => image.complete && image.naturalWidth > 0 && image.clientWidth > 0
        ).length,
    }))
)"""


def _count(notebook: Path) -> int:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return sum(cell["cell_type"] == "code" and bool("".join(cell["source"])) for cell in cells)


@pytest.mark.parametrize(
    "notebook", [path for path in notebooks() if path.stem in RUN], ids=lambda path: path.stem
)
def test_a_notebook_runs_from_top_to_bottom(lab: Lab, page: Page, notebook: Path) -> None:
    open_notebook(page, lab.address(str(notebook.relative_to(PROJECT))))
    expect(page.locator(".jp-Dialog")).to_have_count(0)  # nothing is asked before one can begin
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expected = [f"[{number}]:" for number in range(1, _count(notebook) + 1)]
    page.wait_for_function(
        """([states, count]) => {
            const found = eval(states)(document.querySelector(".jp-NotebookPanel"));
            const ended = found.filter((cell) => /^\\[\\d+\\]:$/.test(cell.prompt));
            return ended.length >= count || found.some((cell) => cell.failed);
        }""",
        arg=[_STATES, len(expected)],
        timeout=_RUN_MS,
    )
    states = page.locator(".jp-NotebookPanel").evaluate(_STATES)
    keep_screenshot(page, f"lab-{notebook.stem}")
    assert [number for number, cell in enumerate(states, 1) if cell["failed"]] == []
    assert [cell["prompt"] for cell in states] == expected
    kinds = [output.kind for cell in _shown(page.locator(".jp-NotebookPanel")) for output in cell]
    stored = [output.kind for cell in stored_outputs(notebook) for output in cell]
    assert kinds == stored


@pytest.mark.parametrize(
    "notebook", [path for path in notebooks() if path.stem not in RUN], ids=lambda path: path.stem
)
def test_stored_outputs_are_rendered(window: Page, notebook: Path) -> None:
    panel = open_tab(window, str(notebook.relative_to(PROJECT)))
    stored = stored_outputs(notebook)
    outputs = panel.locator(".jp-OutputArea-output")
    expect(outputs).to_have_count(sum(map(len, stored)), timeout=PATIENCE_MS)
    expect(panel.locator(".jp-MarkdownCell h1")).to_have_count(1, timeout=PATIENCE_MS)
    window.wait_for_function(
        """(panel) => [...panel.querySelectorAll("img")].every((image) => image.complete)""",
        arg=panel.element_handle(),
    )
    keep_screenshot(window, f"lab-{notebook.stem}")
    assert _shown(panel) == stored
    assert len(panel.evaluate(_STATES)) == _count(notebook)
    expect(window.locator(".jp-Dialog")).to_have_count(0)


def test_a_word_leads_to_its_entry_and_the_entry_to_a_lesson(window: Page) -> None:
    """Words of several parts, too: JupyterLab makes a heading's anchor by a rule of its own."""
    lesson = open_tab(window, "notebooks/01_citus_sharding.ipynb")
    lesson.get_by_role("link", name="distribution column", exact=True).click()
    glossary = window.locator(".jp-MarkdownViewer")
    heading = glossary.get_by_role("heading", name="distribution column")
    expect(heading).to_be_in_viewport(timeout=PATIENCE_MS)
    expect(glossary.get_by_role("heading", name="Glossary")).not_to_be_in_viewport()
    glossary.get_by_role("link", name="lesson 04").first.click()
    opened = window.get_by_role("tab", name="04_app_layer_joins.ipynb")
    expect(opened).to_have_attribute("aria-selected", "true", timeout=PATIENCE_MS)


def _shown(panel: Locator) -> list[list[Shown]]:
    """Return what is rendered below each cell of code."""
    return [[Shown(**output) for output in cell] for cell in panel.evaluate(_OUTPUTS)]
