"""Loading the list, and refreshing its stock with conditional requests."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from helpers.lab.background_programs import ServiceProcess
from helpers.stock import Stock
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import PAGE, card, cards, field, keep_screenshot
from tests.waiting import wait_until

pytestmark = pytest.mark.verify


def test_an_old_etag_is_not_reused_after_the_list_was_reloaded(
    fast_page: Page, stock: Stock
) -> None:
    """The stock equals that of the last refresh again, but not what the list shows."""
    shown = field(card(fast_page, 1), "stock")
    with fast_page.expect_response(lambda response: response.status == 304):
        pass
    fast_page.get_by_role("button", name="Pause").click()
    stock.set_on_hand(1, 14)
    fast_page.get_by_role("radio", name="laptop").check()
    fast_page.get_by_role("radio", name="Any").check()
    expect(cards(fast_page)).to_have_count(PAGE)
    expect(shown).to_have_text("14 in stock")
    stock.set_on_hand(1, 15)
    fast_page.get_by_role("button", name="Pause").click()
    expect(shown).to_have_text(re.compile("^15 in stock"))


def test_a_stock_of_zero_is_shown_as_sold_out(fast_page: Page, stock: Stock) -> None:
    stock.set_on_hand(1, 0)
    expect(field(card(fast_page, 1), "stock")).to_contain_text("Sold out")


def test_an_unchanged_list_is_304(fast_page: Page) -> None:
    def is_refresh(url: str) -> bool:
        return f"/api/products?ids={','.join(map(str, range(1, PAGE + 1)))}&limit={PAGE}" in url

    with fast_page.expect_response(
        lambda response: is_refresh(response.url) and response.status == 304
    ) as waited:
        pass
    assert waited.value.request.headers["if-none-match"]
    expect(fast_page.locator("#refresh-state")).to_contain_text("304, nothing changed")


def test_refreshing_can_be_paused(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page("about:blank")
    page.clock.install()
    page.goto(f"{service.url}/")
    expect(cards(page)).to_have_count(PAGE)
    # Failed requests are retried even while the refresh is paused.
    expect(page.locator("#filters > .group").first).to_be_visible()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#refresh-state")).to_have_text("Stock refresh is paused")
    requested.clear()
    page.clock.run_for(60_000)
    assert requested == []
    with page.expect_request(re.compile(r"ids=")):
        page.get_by_role("button", name="Pause").click()
        page.clock.run_for(1000)


def test_loaded_products_replace_their_placeholders_in_place(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = open_page("about:blank")
    held: list[Route] = []
    page.route("**/api/*", lambda route: held.append(route))
    page.goto(f"{service.url}/")
    places = page.locator(".card.placeholder")
    expect(places.first).to_be_visible()
    groups = page.locator("#filters > .group")
    before = [places.first.bounding_box(), *(group.bounding_box() for group in groups.all())]
    expect(page.locator("#products")).to_have_attribute("aria-busy", "true")
    keep_screenshot(page, "loading")

    def are_both_requested() -> bool:
        page.wait_for_timeout(10)  # Playwright handles events only while it waits
        return len(held) == 2

    wait_until(are_both_requested)
    for route in held:
        route.continue_()
    expect(cards(page)).to_have_count(PAGE)
    expect(groups).to_have_count(4)
    expect(page.locator("#filters")).not_to_have_attribute("data-waiting", "")
    after = [cards(page).first.bounding_box(), *(group.bounding_box() for group in groups.all())]
    for old, new in zip(before, after, strict=True):
        # The last group, specifications, is hidden until their names are known.
        if old is not None:
            assert new is not None
            assert [old["x"], old["width"]] == [new["x"], new["width"]]
            assert old["y"] == pytest.approx(new["y"], abs=2)
    assert sum(box is not None for box in before) == 4
