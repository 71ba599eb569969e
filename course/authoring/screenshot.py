"""Draw the README's picture of a notebook: ``python -m course.authoring.screenshot``.

JupyterLab is started on a copy of the notebook, with settings of its own, and the system's Chromium
looks at it. No cell is run: what is seen are the stored outputs.
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

#: The notebook, the words at which the picture begins, and where it goes.
NOTEBOOK = PROJECT / "notebooks" / "00_tour.ipynb"
WORDS = "Where did each field come from?"
PICTURE = PROJECT / "docs" / "notebook.png"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_SIZE: ViewportSize = {"width": 1180, "height": 860}
_PATIENCE_SECONDS = 240
# What only the course's authors have installed.
_PAGE = {"disabledExtensions": {"@jupyter/nbgrader": True}}
# A notebook's cells are made when they come into view.
_SCREENS = 40


def find_browser() -> str | None:
    """Return the system's Chromium or Chrome; ``None`` where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[str]:
    """Serve JupyterLab on ``folder``, with settings of its own; yield its address with the token.

    Raises ``NotebookError`` when it does not start.
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
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, headers={"Authorization": f"token {token}"}).is_success:
                return
        time.sleep(0.2)
    raise NotebookError(
        "of any notebook", "cannot be shown: JupyterLab does not start", "Try `make lab`."
    )


def draw(notebook: Path, words: str, picture: Path, *, browser: str) -> None:
    """Save what JupyterLab shows of ``notebook`` from ``words`` on, with its folder at the left.

    Raises ``NotebookError`` when JupyterLab does not start, or has no such words, and
    ``playwright``'s errors when its page does not come.
    """
    with tempfile.TemporaryDirectory(prefix="course-lab-") as folder:
        for one in notebook.parent.glob("*.ipynb"):
            shutil.copy(one, folder)
        with lab(Path(folder)) as address, sync_playwright() as playwright:
            started = playwright.chromium.launch(executable_path=browser)
            page = started.new_page(viewport=_SIZE, locale="en-GB")
            page.set_default_timeout(1000 * _PATIENCE_SECONDS)
            page.goto(address.replace("/lab?", f"/lab/tree/{notebook.name}?"))
            show(page, words)
            page.screenshot(path=picture, animations="disabled")
            started.close()


def show(page: Page, words: str, *, screens: int = _SCREENS) -> None:
    """Scroll until ``words`` stand at the top, and wait until all of it is there.

    Raises ``NotebookError`` when they are not in the first ``screens`` halves of a screen.
    """
    page.get_by_text("| Idle").wait_for()  # the kernel: what is saved now stays as it is
    page.keyboard.press("Control+s")
    wanted = page.locator(".jp-Notebook .jp-RenderedMarkdown p").filter(has_text=words)
    page.locator(".jp-Notebook").hover()
    for _ in range(screens):
        if wanted.count():
            break
        page.mouse.wheel(0, _SIZE["height"] / 2)
        page.wait_for_timeout(200)
    else:
        raise NotebookError(
            "that the picture begins with", f"does not say {words!r}", "Give words that one has."
        )
    wanted.evaluate("(one) => one.scrollIntoView({block: 'start'})")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-Notebook img')].every((one) => one.naturalWidth)"
    )
    page.mouse.move(0, 0)


def main() -> None:
    """Draw the README's picture."""
    browser = find_browser()
    if browser is None:
        raise SystemExit(f"There is no browser here: looked for {', '.join(BROWSERS)}.")
    draw(NOTEBOOK, WORDS, PICTURE, browser=browser)
    print(f"{PICTURE} has {PICTURE.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
