"""Each notebook, opened in JupyterLab in a browser and run from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers.settings import PROJECT
from tests.browser.looking import keep_screenshot
from tests.lab.conftest import Lab, notebooks, open_notebook

pytestmark = pytest.mark.servers

_RUN_MS = 900_000  # a guard against what hangs, and no measure

# What the notebook's panel holds, whether it is in view or not.
_STATES = """(panel) => [...panel.querySelectorAll(".jp-CodeCell")].map((cell) => ({
    prompt: cell.querySelector(".jp-InputPrompt")?.textContent.trim() ?? "",
    failed: cell.querySelectorAll(
        '[data-mime-type="application/vnd.jupyter.error"], ' +
        '[data-mime-type="application/vnd.jupyter.stderr"]'
    ).length,
}))"""


def _count(notebook: Path) -> int:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return sum(cell["cell_type"] == "code" and bool("".join(cell["source"])) for cell in cells)


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda one: one.stem)
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
