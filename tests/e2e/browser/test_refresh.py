"""The list is loaded, and its stock is kept up to date at little cost."""

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


def test_an_answer_of_before_is_not_taken_for_the_present(fast_page: Page, stock: Stock) -> None:
    """The count is again what it was at the last refresh, but not what the list has shown since."""
    shown = field(card(fast_page, 1), "stock")
    with fast_page.expect_response(lambda one: one.status == 304):
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


def test_none_left_is_said_in_words(fast_page: Page, stock: Stock) -> None:
    stock.set_on_hand(1, 0)
    expect(field(card(fast_page, 1), "stock")).to_contain_text("Sold out")


def test_nothing_new_costs_no_body(fast_page: Page) -> None:
    def is_refresh(url: str) -> bool:
        return f"/api/products?ids={','.join(map(str, range(1, PAGE + 1)))}&limit={PAGE}" in url

    with fast_page.expect_response(lambda one: is_refresh(one.url) and one.status == 304) as waited:
        pass
    assert waited.value.request.headers["if-none-match"]
    expect(fast_page.locator("#refresh-state")).to_contain_text("304, nothing changed")


def test_refreshing_can_be_paused(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page("about:blank")
    page.clock.install()
    page.goto(f"{service.url}/")
    expect(cards(page)).to_have_count(PAGE)
    # What did not come at first, is asked for again, paused or not.
    expect(page.locator("#filters > .group").first).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#refresh-state")).to_have_text("Stock does not refresh now")
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_request(re.compile(r"ids=")):
        page.get_by_role("button", name="Pause").click()
        page.clock.run_for(1000)


def test_products_come_where_their_places_were(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page("about:blank")
    held: list[Route] = []
    page.route("**/api/*", lambda route: held.append(route))
    page.goto(f"{service.url}/")
    places = page.locator(".card.placeholder")
    expect(places.first).to_be_visible()
    groups = page.locator("#filters > .group")
    before = [places.first.bounding_box(), *(one.bounding_box() for one in groups.all())]
    expect(page.locator("#products")).to_have_attribute("aria-busy", "true")
    keep_screenshot(page, "loading")

    def are_both_asked_for() -> bool:
        page.wait_for_timeout(10)  # else nothing is heard of the browser meanwhile
        return len(held) == 2

    wait_until(are_both_asked_for)
    for route in held:
        route.continue_()
    expect(cards(page)).to_have_count(PAGE)
    expect(groups).to_have_count(4)
    expect(page.locator("#filters")).not_to_have_attribute("data-waiting", "")
    after = [cards(page).first.bounding_box(), *(one.bounding_box() for one in groups.all())]
    for one, other in zip(before, after, strict=True):
        # The last group, of specifications, is not there before their names are known.
        if one is not None:
            assert other is not None
            assert [one["x"], one["width"]] == [other["x"], other["width"]]
            assert one["y"] == pytest.approx(other["y"], abs=2)
    assert sum(one is not None for one in before) == 4
