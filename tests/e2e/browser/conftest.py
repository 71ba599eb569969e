"""A shop of 120 products, its service, and a browser with the storefront.

The browser is the system's Chromium. Without one the tests are skipped, except if ``CI`` is set:
then they fail.

Browser, shop and service start once for all modules of this folder. They end before the tests of
other folders begin: Playwright's event loop runs in this thread, and ``asyncio.run`` would fail.
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
from helpers.shop.seeding import seed
from helpers.stock import Stock
from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores, Proxies, proxied
from tests.e2e.browser.looking import COUNT, PAGE, cards, find_browser
from tests.waiting import wait_until

_TIMEOUT_MS = 60_000

# Make timers and the clock ten times as fast for a page's scripts: it refreshes after 0.3 s instead
# of 3 s, for example. This runs before the page's own scripts.
_FAST_CLOCK = """(() => {
  const FACTOR = 10;
  const { setTimeout, setInterval, Date: Real } = window;
  const began = Real.now();
  window.setTimeout = (does, ms = 0, ...given) => setTimeout(does, ms / FACTOR, ...given);
  window.setInterval = (does, ms = 0, ...given) => setInterval(does, ms / FACTOR, ...given);
  window.Date = class extends Real {
    constructor(...given) {
      super(...(given.length === 0 ? [window.Date.now()] : given));
    }
    static now() {
      return began + FACTOR * (Real.now() - began);
    }
  };
})()"""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    program = find_browser()
    expect.set_options(timeout=_TIMEOUT_MS)
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
def proxied_shop(shop: Stores) -> Iterator[ProxiedStores]:
    """The same shop through proxies that can be cut."""
    with proxied(shop) as stores:
        yield stores


@pytest.fixture(scope="package")
def service(proxied_shop: ProxiedStores) -> Iterator[ServiceProcess]:
    """The service, connected to its stores through the proxies."""
    with start_service(proxied_shop, "--no-breaker") as running:
        yield running


@pytest.fixture
def proxies(proxied_shop: ProxiedStores, service: ServiceProcess) -> Iterator[Proxies]:
    """The proxies, restored after the test, when the service has reconnected."""
    yield proxied_shop.proxies
    proxied_shop.proxies.restore()
    with httpx.Client(base_url=service.url, timeout=60) as client:

        def is_complete(path: str) -> bool:
            response = client.get(path)
            return response.is_success and "x-missing-stores" not in response.headers

        # Several times, because a pool may have more than one broken connection.
        wait_until(lambda: all(is_complete(path) for path in 4 * ["/api/products", "/api/facets"]))


@pytest.fixture
def stock(shop: Stores) -> Iterator[Stock]:
    """The shop's stock. That of product 1 is restored afterwards."""
    stock = Stock.of(shop)
    yield stock
    stock.set_on_hand(1, 15)
    assert shop.redis.get(stock_key(1)) == "15"


def _errors_of(page: Page) -> list[str]:
    """Return a list that collects a page's errors: exceptions, and console warnings.

    Violations of the page's Content Security Policy are on the console, too.
    """
    errors: list[str] = []

    def collect(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", collect)
    return errors


class Opening(Protocol):
    """Opens pages; see ``opening_pages``."""

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

    At the end, assert that no script has failed and that the console has no messages, except those
    that match the pattern ``may``. With ``fast``, clock and timers of the page are ten times as
    fast. ``options`` are those of the browser's context.
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
        context.set_default_timeout(_TIMEOUT_MS)
        if fast:
            context.add_init_script(_FAST_CLOCK)
        page = context.new_page()
        opened.append((context, _errors_of(page), may))
        page.goto(url)
        return page

    try:
        yield open_page
    finally:
        for context, _, _ in opened:
            context.close()
    for _, errors, may in opened:
        assert [error for error in errors if not (may and re.search(may, error))] == []


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
    """The same page with a clock that is ten times as fast."""
    page = open_page(f"{service.url}/", fast=True)
    expect(cards(page)).to_have_count(PAGE)
    return page


@pytest.fixture(scope="module")
def still_page(browser: Browser, service: ServiceProcess) -> Iterator[Page]:
    """One page for all tests of a module that change nothing on it, or restore it.

    Its refresh is paused, so that it does not show what other tests change in the shop.
    """
    with opening_pages(browser) as opening:
        page = opening(f"{service.url}/")
        expect(cards(page)).to_have_count(PAGE)
        expect(page.locator("#filters > .group")).to_have_count(4)
        page.get_by_role("button", name="Pause").click()
        yield page
