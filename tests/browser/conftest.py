"""A shop of 120 products, its service, and a browser that looks at it.

The browser is the system's Chromium. Where there is none the tests are skipped, but never where
``CI`` is set: there, a browser is a duty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from helpers.faces.background import Served, served
from helpers.shop.schema import drop_shop
from helpers.shop.seed import seed
from helpers.stores import Stores
from helpers.stores.linked import LinkedStores, linked
from tests.browser.looking import COUNT, PAGE, cards, find_browser

_PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a module: its event loop must not outlive them."""
    program = find_browser()
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        yield started
        started.close()


@pytest.fixture(scope="module")
def shop(shared: Stores) -> Iterator[Stores]:
    """Products 1 to 120 with their metadata and stock, the original's three among them."""
    drop_shop(shared)
    shared.redis.flushdb()
    seed(shared, COUNT, orders=False)
    yield shared
    drop_shop(shared)
    shared.redis.flushdb()


@pytest.fixture(scope="module")
def service(shop: Stores) -> Iterator[Served]:
    with served(shop) as running:
        yield running


@pytest.fixture(scope="module")
def far(shop: Stores) -> Iterator[LinkedStores]:
    """The same shop over links that can be cut."""
    with linked(shop) as stores:
        yield stores


@pytest.fixture(scope="module")
def far_service(far: LinkedStores) -> Iterator[Served]:
    """The service, with the links between it and its stores."""
    with served(far, "--no-breaker") as running:
        yield running


def _watch(page: Page) -> list[str]:
    """Return what will be wrong on a page: what scripts throw, and what the console warns of.

    There the browser also says what the page's policy refused.
    """
    troubles: list[str] = []

    def heard(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            troubles.append(said.text)

    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", heard)
    return troubles


Opening = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opening]:
    """Open a page: ``open_page(url, width=1280, height=900, may="", **options)``.

    After the test, no script may have failed and nothing may stand on the console, but for what
    the pattern ``may`` allows; ``options`` are those of the browser's context.
    """
    opened: list[tuple[BrowserContext, list[str], str]] = []

    def open_one(
        url: str, width: int = 1280, height: int = 900, *, may: str = "", **options: Any
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale="en-GB",
            **options,
        )
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()
        opened.append((context, _watch(page), may))
        page.goto(url)
        return page

    yield open_one
    for context, _, _ in opened:
        context.close()
    for _, troubles, may in opened:
        assert [one for one in troubles if not (may and re.search(may, one))] == []


@pytest.fixture
def page(open_page: Opening, service: Served) -> Page:
    """The storefront in a wide window, with its first products."""
    page = open_page(f"{service.url}/")
    expect(cards(page)).to_have_count(PAGE)
    return page
