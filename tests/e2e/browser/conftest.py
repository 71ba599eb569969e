"""A shop of 120 products, its service, and a browser that looks at it.

The browser is the system's Chromium. Where there is none the tests are skipped, but never where
``CI`` is set: there, a browser is a duty.

Browser, shop and service start once for all modules of this folder that a process runs one after
the other. They end before the tests of other folders begin, because Playwright's event loop runs in
this thread while they exist, and ``asyncio.run`` fails beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from helpers.catalog.model import stock_key
from helpers.lab.background_programs import ServiceProcess, start_service
from helpers.shop.schema import drop_shop
from helpers.shop.seed import seed
from helpers.stock import Stock
from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores, Proxies, proxied
from tests.e2e.browser.looking import COUNT, PAGE, cards, find_browser
from tests.waiting import wait_until

_PATIENCE_MS = 60_000

# Timers and the time of day run ten times as fast for the scripts of a page: it refreshes after
# 0.3 s instead of 3 s, for example. Run before the page's own scripts.
_HASTE = """(() => {
  const HASTE = 10;
  const { setTimeout, setInterval, Date: Real } = window;
  const began = Real.now();
  window.setTimeout = (does, ms = 0, ...given) => setTimeout(does, ms / HASTE, ...given);
  window.setInterval = (does, ms = 0, ...given) => setInterval(does, ms / HASTE, ...given);
  window.Date = class extends Real {
    constructor(...given) {
      super(...(given.length === 0 ? [window.Date.now()] : given));
    }
    static now() {
      return began + HASTE * (Real.now() - began);
    }
  };
})()"""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    program = find_browser()
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        yield started
        started.close()


@pytest.fixture(scope="package")
def shop(browser: Browser, shared: Stores) -> Iterator[Stores]:
    """Products 1 to 120 with their metadata and stock, the original's three among them."""
    drop_shop(shared)
    shared.redis.flushdb()
    seed(shared, COUNT, orders=False)
    yield shared
    drop_shop(shared)
    shared.redis.flushdb()


@pytest.fixture(scope="package")
def far(shop: Stores) -> Iterator[ProxiedStores]:
    """The same shop over links that can be cut."""
    with proxied(shop) as stores:
        yield stores


@pytest.fixture(scope="package")
def service(far: ProxiedStores) -> Iterator[ServiceProcess]:
    """The service, with the links between it and its stores."""
    with start_service(far, "--no-breaker") as running:
        yield running


@pytest.fixture
def links(far: ProxiedStores, service: ServiceProcess) -> Iterator[Proxies]:
    """The links of the shop; after the test all pass again, and the service has noticed it."""
    yield far.proxies
    far.proxies.restore()
    with httpx.Client(base_url=service.url, timeout=60) as client:

        def is_whole(path: str) -> bool:
            response = client.get(path)
            return response.is_success and "x-missing-stores" not in response.headers

        # Several times: a pool may hold more than one connection that was cut.
        wait_until(lambda: all(is_whole(path) for path in 4 * ["/api/products", "/api/facets"]))


@pytest.fixture
def stock(shop: Stores) -> Iterator[Stock]:
    """The shop's stock; afterwards, that of product 1 is as it was."""
    stock = Stock.of(shop)
    yield stock
    stock.set_on_hand(1, 15)
    assert shop.redis.get(stock_key(1)) == "15"


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


class Opening(Protocol):
    """Opens pages, as ``opening_pages`` says."""

    def __call__(
        self,
        url: str,
        width: int = 1280,
        height: int = 900,
        *,
        may: str = "",
        fast: bool = False,
        **options: Any,
    ) -> Page: ...


@contextmanager
def opening_pages(browser: Browser) -> Iterator[Opening]:
    """Yield a function that opens a page: ``open_page("http://…", width=1280, height=900)``.

    At the end, no script may have failed and nothing may stand on the console, except what the
    pattern ``may`` allows. With ``fast``, time passes ten times as fast for the page's scripts;
    ``options`` are those of the browser's context.
    """
    opened: list[tuple[BrowserContext, list[str], str]] = []

    def open_page(
        url: str,
        width: int = 1280,
        height: int = 900,
        *,
        may: str = "",
        fast: bool = False,
        **options: Any,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale="en-GB",
            **options,
        )
        context.set_default_timeout(_PATIENCE_MS)
        if fast:
            context.add_init_script(_HASTE)
        page = context.new_page()
        opened.append((context, _watch(page), may))
        page.goto(url)
        return page

    try:
        yield open_page
    finally:
        for context, _, _ in opened:
            context.close()
    for _, troubles, may in opened:
        assert [one for one in troubles if not (may and re.search(may, one))] == []


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opening]:
    """Open pages that are closed after the test; see ``opening_pages``."""
    with opening_pages(browser) as opening:
        yield opening


@pytest.fixture
def page(open_page: Opening, service: ServiceProcess) -> Page:
    """The storefront in a wide window, with its first products."""
    page = open_page(f"{service.url}/")
    expect(cards(page)).to_have_count(PAGE)
    return page


@pytest.fixture
def fast_page(open_page: Opening, service: ServiceProcess) -> Page:
    """The same, where time passes ten times as fast."""
    page = open_page(f"{service.url}/", fast=True)
    expect(cards(page)).to_have_count(PAGE)
    return page


@pytest.fixture(scope="module")
def still_page(browser: Browser, service: ServiceProcess) -> Iterator[Page]:
    """The same page for all tests of a module that change nothing on it, or change it back.

    It is not refreshed: what other tests do to the shop meanwhile is not seen on it.
    """
    with opening_pages(browser) as opening:
        page = opening(f"{service.url}/")
        expect(cards(page)).to_have_count(PAGE)
        expect(page.locator("#filters > .group")).to_have_count(4)
        page.get_by_role("button", name="Pause").click()
        yield page
