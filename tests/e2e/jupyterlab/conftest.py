"""JupyterLab on a copy of the notebooks, served as by ``make lab``, and a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from helpers.cli.jupyterlab import command
from helpers.embedded import EmbeddedServers
from helpers.settings import PROJECT, Settings
from tests.e2e.browser.looking import find_browser
from tests.e2e.servers.server_helpers import environ, temporary_data_folder

#: The timeout of an operation on the page.
TIMEOUT_MS = 60_000

#: The notebooks that are run in JupyterLab. For the others, the stored outputs are checked.
RUN = ("00_tour", "02_mongodb_metadata")

_TIMEOUT_SECONDS = 120
_TOKEN = re.compile(r"http://127\.0\.0\.1:(\d+)/lab\?token=(\w+)")


def notebooks() -> list[Path]:
    """Return the lessons and the project."""
    return [
        path
        for folder in ("notebooks", "project")
        for path in sorted((PROJECT / folder).glob("*.ipynb"))
    ]


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab that serves ``folder``."""

    folder: Path
    port: str
    token: str

    def address(self, notebook: str = "") -> str:
        """Return the address of a notebook, or of JupyterLab itself, with a fresh workspace."""
        path = f"/tree/{notebook}" if notebook else ""
        return f"http://127.0.0.1:{self.port}/lab{path}?reset&token={self.token}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks, with its own servers."""
    top = tmp_path_factory.mktemp("course")
    for path in notebooks():
        _copy(path, top / path.relative_to(PROJECT), outputs=path.stem not in RUN)
    shutil.copy(PROJECT / "notebooks" / "glossary.md", top / "notebooks")
    log = top / "lab.log"
    # Separate from the settings and kernels of the user who runs the tests.
    own = {name: str(top / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    with temporary_data_folder() as home:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command(0, top), "--no-browser"],
                env=environ(home) | own | {"PYTHONPATH": str(PROJECT)},
                cwd=top,
                stdout=output,
                stderr=output,
            )
        try:
            yield Lab(top, *_address(process, log))
        finally:
            _end(process)
            # The lessons started them.
            EmbeddedServers(Settings(home)).reset()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    program = find_browser()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A laptop-sized window for one test."""
    with browser.new_page(viewport={"width": 1280, "height": 900}) as opened:
        opened.set_default_timeout(TIMEOUT_MS)
        yield opened


@pytest.fixture(scope="module")
def window(lab: Lab, browser: Browser) -> Iterator[Page]:
    """A window in which JupyterLab stays open for several tests, since loading it is slow."""
    with browser.new_page(viewport={"width": 1280, "height": 900}) as opened:
        opened.set_default_timeout(TIMEOUT_MS)
        opened.goto(lab.address())
        opened.get_by_role("menuitem", name="File", exact=True).wait_for()
        yield opened


def open_tab(window: Page, notebook: str) -> Locator:
    """Open a notebook in a tab of the window, or switch to its tab; return its panel."""
    window.get_by_role("menuitem", name="File", exact=True).click()
    window.get_by_role("menuitem", name="Open from Path…", exact=True).click()
    window.locator(".jp-Dialog input").fill(notebook)
    window.keyboard.press("Enter")
    tab = window.get_by_role("tab", name=notebook.rpartition("/")[2], exact=True)
    expect(tab).to_have_attribute("aria-selected", "true", timeout=TIMEOUT_MS)
    panel = window.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    expect(panel).to_have_count(1, timeout=TIMEOUT_MS)
    return panel


def open_notebook(page: Page, address: str) -> None:
    """Open a notebook, and wait until its kernel is ready."""
    page.goto(address)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=TIMEOUT_MS)


def _copy(path: Path, place: Path, *, outputs: bool) -> None:
    """Copy a notebook, with or without its outputs."""
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and not outputs:
            cell["outputs"], cell["execution_count"] = [], None
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(notebook), "utf-8")


def _address(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if found := _TOKEN.search(log.read_text("utf-8", "replace")):
            return found[1], found[2]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text('utf-8', 'replace')}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop JupyterLab and its kernels."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    process.wait(_TIMEOUT_SECONDS)
    for child in family[1:]:
        if child.is_running():
            child.kill()
