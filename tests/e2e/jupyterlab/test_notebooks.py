"""Notebooks in JupyterLab: some are run there, for the others the stored outputs are rendered.

nbval checks that every cell of every notebook runs and has the stored output.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.settings import PROJECT
from tests.e2e.browser.looking import keep_screenshot
from tests.e2e.jupyterlab.conftest import RUN, TIMEOUT_MS, Lab, notebooks, open_notebook, open_tab
from tests.e2e.jupyterlab.outputs import Shown, stored_outputs

pytestmark = [pytest.mark.servers, pytest.mark.verify]

_RUN_MS = 900_000  # in case a cell hangs

# The states of the code cells in the notebook's panel.
_STATES = """(panel) => [...panel.querySelectorAll(".jp-CodeCell")].map((cell) => ({
    prompt: cell.querySelector(".jp-InputPrompt")?.textContent.trim() ?? "",
    failed: cell.querySelectorAll(
        '[data-mime-type="application/vnd.jupyter.error"], ' +
        '[data-mime-type="application/vnd.jupyter.stderr"]'
    ).length,
}))"""

# The rendered outputs of each code cell. An image that cannot be decoded has no width.
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
    expect(page.locator(".jp-Dialog")).to_have_count(0)  # no dialog blocks the notebook
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
    expect(outputs).to_have_count(sum(map(len, stored)), timeout=TIMEOUT_MS)
    expect(panel.locator(".jp-MarkdownCell h1")).to_have_count(1, timeout=TIMEOUT_MS)
    window.wait_for_function(
        """(panel) => [...panel.querySelectorAll("img")].every((image) => image.complete)""",
        arg=panel.element_handle(),
    )
    keep_screenshot(window, f"lab-{notebook.stem}")
    assert _shown(panel) == stored
    assert len(panel.evaluate(_STATES)) == _count(notebook)
    expect(window.locator(".jp-Dialog")).to_have_count(0)


def test_glossary_links_work_in_both_directions(window: Page) -> None:
    """Also for a term of several words, since JupyterLab has its own rule for anchors."""
    lesson = open_tab(window, "notebooks/01_citus_sharding.ipynb")
    lesson.get_by_role("link", name="distribution column", exact=True).click()
    glossary = window.locator(".jp-MarkdownViewer")
    heading = glossary.get_by_role("heading", name="distribution column")
    expect(heading).to_be_in_viewport(timeout=TIMEOUT_MS)
    expect(glossary.get_by_role("heading", name="Glossary")).not_to_be_in_viewport()
    glossary.get_by_role("link", name="lesson 04").first.click()
    opened = window.get_by_role("tab", name="04_app_layer_joins.ipynb")
    expect(opened).to_have_attribute("aria-selected", "true", timeout=TIMEOUT_MS)


def _shown(panel: Locator) -> list[list[Shown]]:
    """Return the rendered outputs of each code cell."""
    return [[Shown(**output) for output in cell] for cell in panel.evaluate(_OUTPUTS)]
