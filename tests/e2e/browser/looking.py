"""Find parts of the page and read their properties."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Locator, Page

from course.authoring import screenshot
from helpers.settings import PROJECT

#: The number of products in the shop.
COUNT = 120

#: The number of products that the page loads at a time.
PAGE = 24

#: The browser's message about a response with a status from 400 on, or about none.
FAILED_REQUEST = r"^Failed to load resource: .*(status of [45]\d\d|net::ERR_)"

SCREENSHOTS = PROJECT / "build" / "screenshots"


def find_browser() -> str:
    """Return the system's Chromium. Without one, skip the test, or fail it in CI."""
    if found := screenshot.find_browser():
        return found
    reason = f"there is no browser here (looked for {', '.join(screenshot.BROWSERS)})"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def cards(page: Page) -> Locator:
    """Return the cards of products, without placeholders."""
    return page.locator("#products > .card:not(.placeholder)")


def card(page: Page, number: int) -> Locator:
    """Return the card of one product."""
    return page.locator(f'#products > [data-key="{number}"]')


def shown_ids(page: Page) -> list[int]:
    """Return the ids of the shown products, in order."""
    return [int(key) for key in cards(page).evaluate_all("all => all.map((c) => c.dataset.key)")]


def filters_of(page: Page) -> list[tuple[str, str]]:
    """Return the filters in the page's address."""
    return parse_qsl(urlsplit(page.url).query)


def keep_screenshot(page: Page, name: str) -> Path:
    """Save a screenshot below ``build/screenshots``."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    file = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=file, animations="disabled")
    return file


def field(product: Locator, name: str) -> Locator:
    """Return a field of a card: ``"name"``, ``"price"``, …, ``"stock"``."""
    return product.locator(f'[data-field="{name}"]')


def store_of(part: Locator) -> tuple[str, str]:
    """Return the store of the field around ``part``, and the colour of that field's rail."""
    store, colour = part.evaluate(
        """(part) => {
            const field = part.closest("[data-store]");
            return [field.dataset.store, getComputedStyle(field, "::before").backgroundColor];
        }"""
    )
    return store, _hexadecimal(colour)


def _hexadecimal(colour: str) -> str:
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(","))
    return f"#{red:02X}{green:02X}{blue:02X}"


def focused(page: Page) -> str:
    """Return the id, the classes or the name of the element that has the focus."""
    found: str = page.evaluate(
        """() => {
            const at = document.activeElement;
            return at.id || at.className || at.localName;
        }"""
    )
    return found


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    wider: int = page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider


def record_stock(part: Locator) -> Callable[[], list[str]]:
    """Record each text of the stock in ``part``; return a function that reads the record."""
    texts = part.evaluate_handle(
        """(part) => {
            const texts = [];
            const record = () => texts.push(part.querySelector(".stock").textContent);
            new MutationObserver(record).observe(part, { childList: true, subtree: true });
            return texts;
        }"""
    )
    return texts.json_value


def tab_stops(page: Page, most: int) -> list[str]:
    """Press Tab repeatedly, and return the part of the page of each stop, without repetitions."""
    stops: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        found: str = page.evaluate(
            """() => {
                const at = document.activeElement;
                if (at.id) return at.id;
                const around = at.closest("#filters, #chips, #products, #drawer");
                return around ? around.id : at.className || at.localName;
            }"""
        )
        if not stops or stops[-1] != found:
            stops.append(found)
        if found == "more":
            break
    return stops


def call_each(page: Page, module: str, function: str, *cases: tuple[object, ...]) -> list[Any]:
    """Call a function of a JavaScript module once for each case, which is its arguments."""
    found: list[Any] = page.evaluate(
        """async ([module, name, cases]) => {
            const called = (await import(`/storefront/${module}.js`))[name];
            return cases.map((given) => {
                const found = called(...given);
                return found instanceof URLSearchParams ? found.toString() : found;
            });
        }""",
        [module, function, [list(case) for case in cases]],
    )
    return found
