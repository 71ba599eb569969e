"""Take the README's screenshot of a notebook: ``python -m course.authoring.screenshot``.

JupyterLab is started on a copy of the notebooks with its own settings, and opened in the system's
Chromium. No cell is run; the screenshot shows the stored outputs.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from playwright.sync_api import Page, ViewportSize, sync_playwright

from helpers.cli.jupyterlab import command
from helpers.errors import NotebookError
from helpers.settings import PROJECT

#: The notebook, the words at the top of the screenshot, and its file.
NOTEBOOK = PROJECT / "notebooks" / "00_tour.ipynb"
WORDS = "Where did each field come from?"
PICTURE = PROJECT / "docs" / "notebook.png"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_SIZE: ViewportSize = {"width": 1180, "height": 860}
_TIMEOUT_SECONDS = 240
# Disable extensions that only the course's authors have installed.
_PAGE = {"disabledExtensions": {"@jupyter/nbgrader": True}}
# JupyterLab renders cells only when they come into view.
_SCREENS = 40


def find_browser() -> str | None:
    """Return the system's Chromium or Chrome, or ``None``."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[str]:
    """Serve JupyterLab on ``folder``, with its own settings; yield its address with the token.

    Raises ``NotebookError`` if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="course-lab-") as home:
        port = _free_port()
        token = secrets.token_urlsafe(18)
        config = Path(home, "labconfig")
        config.mkdir()
        (config / "page_config.json").write_text(json.dumps(_PAGE), "utf-8")
        own = dict.fromkeys(("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"), home)
        environ = {
            **{key: value for key, value in os.environ.items() if "DISPLAY" not in key},
            **{f"JUPYTER_{name}": place for name, place in own.items()},
            "JUPYTER_TOKEN": token,
        }
        process = subprocess.Popen(
            [*command(port, folder), "--no-browser"],
            env=environ,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                _wait(process, f"http://127.0.0.1:{port}/api/status", token)
                yield f"http://127.0.0.1:{port}/lab?token={token}"
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def _wait(process: subprocess.Popen[bytes], url: str, token: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, headers={"Authorization": f"token {token}"}).is_success:
                return
        time.sleep(0.2)
    raise NotebookError(
        "of any notebook", "cannot be shown: JupyterLab does not start", "Try `make lab`."
    )


def take_screenshot(notebook: Path, words: str, picture: Path, *, browser: str) -> None:
    """Save a screenshot of ``notebook`` in JupyterLab, from ``words`` on, next to its folder.

    Raises ``NotebookError`` if JupyterLab does not start or no cell contains the words, and
    ``playwright``'s errors if the page does not load.
    """
    with tempfile.TemporaryDirectory(prefix="course-lab-") as folder:
        for path in notebook.parent.glob("*.ipynb"):
            shutil.copy(path, folder)
        with lab(Path(folder)) as address, sync_playwright() as playwright:
            started = playwright.chromium.launch(executable_path=browser)
            page = started.new_page(viewport=_SIZE, locale="en-GB")
            page.set_default_timeout(1000 * _TIMEOUT_SECONDS)
            page.goto(address.replace("/lab?", f"/lab/tree/{notebook.name}?"))
            scroll_to(page, words)
            page.screenshot(path=picture, animations="disabled")
            started.close()


def scroll_to(page: Page, words: str, *, screens: int = _SCREENS) -> None:
    """Scroll until ``words`` are at the top, and wait until all images are loaded.

    Raises ``NotebookError`` if they are not found within ``screens`` half screens.
    """
    page.get_by_text(
        "| Idle"
    ).wait_for()  # the kernel has started; save, so that nothing changes later
    page.keyboard.press("Control+s")
    target = page.locator(".jp-Notebook .jp-RenderedMarkdown p").filter(has_text=words)
    page.locator(".jp-Notebook").hover()
    for _ in range(screens):
        if target.count():
            break
        page.mouse.wheel(0, _SIZE["height"] / 2)
        page.wait_for_timeout(200)
    else:
        raise NotebookError(
            "for the screenshot", f"does not contain {words!r}", "Give words of a cell."
        )
    target.evaluate("(element) => element.scrollIntoView({block: 'start'})")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-Notebook img')].every((img) => img.naturalWidth)"
    )
    page.mouse.move(0, 0)


def main() -> None:
    """Take the README's screenshot."""
    browser = find_browser()
    if browser is None:
        raise SystemExit(f"No browser was found: install one of {', '.join(BROWSERS)}.")
    take_screenshot(NOTEBOOK, WORDS, PICTURE, browser=browser)
    print(f"{PICTURE} has {PICTURE.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
