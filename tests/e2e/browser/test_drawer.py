"""The drawer shows a request, its response, and its round trips to each store."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from helpers.lab.background_programs import ServiceProcess
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import PAGE, cards, keep_screenshot, overflow

pytestmark = pytest.mark.verify

COLOURS = {
    "PostgreSQL": "rgb(0, 114, 178)",
    "MongoDB": "rgb(0, 158, 115)",
    "Redis": "rgb(230, 159, 0)",
}


@pytest.fixture
def opened(still_page: Page) -> Iterator[Page]:
    """The page with its drawer, which shows the request of the list."""
    still_page.locator("#drawer-toggle").click()
    yield still_page
    still_page.keyboard.press("Escape")


def test_the_drawer_opens_and_closes_by_keyboard_and_restores_the_focus(still_page: Page) -> None:
    toggle = still_page.locator("#drawer-toggle")
    toggle.press("Enter")
    drawer = still_page.get_by_role("dialog", name="The request")
    expect(drawer).to_be_visible()
    expect(still_page.locator("#drawer-title")).to_be_focused()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    still_page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(toggle).to_be_focused()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.press("Space")
    drawer.get_by_role("button", name="Close").press("Enter")
    expect(drawer).to_be_hidden()
    expect(toggle).to_be_focused()


def test_each_store_has_a_bar_in_its_colour(opened: Page) -> None:
    rows = opened.get_by_role("dialog").locator("tbody tr")
    expect(rows).to_have_count(3)
    found = {}
    for row in rows.all():
        store = row.locator("b").inner_text()
        bar = row.locator(".bar")
        found[store] = bar.evaluate("(bar) => getComputedStyle(bar).backgroundColor")
        box, track = bar.bounding_box(), row.locator(".track").bounding_box()
        assert box is not None
        assert track is not None
        assert track["x"] <= box["x"]
        assert box["x"] + box["width"] <= track["x"] + track["width"] + 3
    assert found == COLOURS
    keep_screenshot(opened, "drawer")


def test_the_times_of_bars_are_also_text(opened: Page) -> None:
    drawer = opened.get_by_role("dialog")
    table = drawer.get_by_role("table", name=re.compile("Each request to a store"))
    for store, what in (("PostgreSQL", "SELECT"), ("MongoDB", "find"), ("Redis", "MGET")):
        row = table.get_by_role("row", name=re.compile(f"^{store} {what}"))
        expect(row.get_by_role("cell").first).to_have_text(re.compile(r"begins at [\d.]+ ms"))
        expect(row.get_by_role("cell").last).to_have_text(re.compile(r"^[\d.]+ ms$"))
    totals = drawer.get_by_role("list", name="Round trips per store")
    expect(totals.get_by_role("listitem")).to_have_count(3)
    expect(drawer.locator(".waterfall-total")).to_have_text(
        re.compile(r"^[\d.]+ ms in the service, 3 round trips$")
    )


def test_the_drawer_shows_request_and_response(opened: Page) -> None:
    drawer = opened.get_by_role("dialog")
    expect(drawer.locator(".request-line")).to_have_text(f"GET /api/products?limit={PAGE}")
    expect(drawer.locator(".status-line")).to_contain_text("200 OK")
    facts = drawer.locator(".facts")
    for name in ("X-Request-ID", "ETag", "Size", "Cache-Control", "Link, next"):
        expect(facts.get_by_text(name, exact=True)).to_be_visible()
    expect(facts).to_contain_text(re.compile(r"[\d.]+ kB, sent as [\d.]+ kB \(gzip\)"))


def test_an_earlier_request_can_be_selected(fast_page: Page) -> None:
    with fast_page.expect_response(lambda response: response.status == 304):
        fast_page.locator("#drawer-toggle").click()
    drawer = fast_page.get_by_role("dialog")
    choice = drawer.get_by_label("Request", exact=True)
    refreshed = choice.locator("option", has_text="304").get_attribute("value")
    choice.select_option(refreshed)
    expect(drawer.locator(".status-line")).to_contain_text("304 Not Modified")
    facts = drawer.locator(".facts")
    expect(facts.get_by_text("If-None-Match")).to_be_visible()
    expect(facts).to_contain_text("nothing changed since the ETag that was sent")


def test_in_a_wide_window_the_products_stay_visible(page: Page) -> None:
    page.locator("#drawer-toggle").click()
    page.get_by_role("radio", name="laptop").check()
    drawer = page.get_by_role("dialog")
    expect(drawer.locator(".request-line")).to_contain_text("category=laptop")
    assert overflow(page) == 0
    edge = drawer.bounding_box()
    for product in cards(page).all():
        box = product.bounding_box()
        assert box is not None
        assert edge is not None
        assert box["x"] + box["width"] <= edge["x"], "no card is under the drawer"


def test_in_a_narrow_window_the_drawer_covers_the_page_and_keeps_the_focus(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = open_page(f"{service.url}/", 320, 700)
    expect(cards(page)).to_have_count(PAGE)
    page.locator("#drawer-toggle").press("Enter")
    drawer = page.get_by_role("dialog")
    expect(drawer).to_be_visible()
    assert overflow(page) == 0
    for _ in range(6):
        page.keyboard.press("Tab")
        is_outside = page.evaluate(
            "() => !document.activeElement.closest('dialog, html > body:focus') "
            "&& document.activeElement !== document.body"
        )
        assert not is_outside
    keep_screenshot(page, "drawer-narrow")
    page.keyboard.press("Escape")
    expect(page.locator("#drawer-toggle")).to_be_focused()
