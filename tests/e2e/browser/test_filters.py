"""Filters: choose, share by a link and remove them, without losing the focus."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from helpers.lab.background_programs import ServiceProcess
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import PAGE, card, cards, field, filters_of, focused

pytestmark = pytest.mark.verify


def test_a_shared_link_restores_its_filters(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page(f"{service.url}/?category=phone&tag=electronics&spec.storage=128GB&page=7")
    expect(field(card(page, 2), "name")).to_have_text("Phone B")
    expect(page.get_by_role("radio", name="phone")).to_be_checked()
    expect(page.get_by_role("checkbox", name=re.compile("^electronics"))).to_be_checked()
    expect(page.get_by_role("checkbox", name=re.compile("^128GB"))).to_be_checked()
    expect(page).to_have_title("category: phone, tag: electronics, storage: 128GB · The shop")


def test_chips_remove_filters(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page(f"{service.url}/?category=book&tag=books&spec.pages=100..300")
    expect(cards(page).first).to_be_visible()
    page.get_by_role("button", name="tag: books").press("Enter")
    expect(page.get_by_role("button", name="pages: 100 to 300")).to_be_focused()
    assert filters_of(page) == [("category", "book"), ("spec.pages", "100..300")]
    page.get_by_role("button", name="Remove all").press("Enter")
    expect(page.locator("#chips")).to_be_hidden()
    expect(page.locator("#products-title")).to_be_focused()
    expect(cards(page)).to_have_count(PAGE)


def test_a_range_filters_numbers(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page(f"{service.url}/?category=book")
    page.locator(".specification", has_text="pages").locator("summary").click()
    page.get_by_label("to (pages)").fill("100")
    page.get_by_label("from (pages)").fill("400")
    page.get_by_role("button", name="Apply (pages)").click()
    expect(page.get_by_role("button", name="pages: 100 to 400")).to_be_visible()
    expect(page.locator("#products")).not_to_have_attribute("aria-busy", "true")
    for text in field(cards(page), "specifications").all_inner_texts():
        found = re.search(r"pages\n(\d+)", text)
        assert found is not None
        assert 100 <= int(found[1]) <= 400


def test_filters_without_results_can_be_removed(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = open_page(f"{service.url}/?category=lamp&spec.ram=16GB")
    page.get_by_text("No product meets all of these filters").wait_for()
    page.locator("#empty").get_by_role("button", name="Remove all filters").click()
    expect(cards(page)).to_have_count(PAGE)


def test_long_lists_of_values_unfold(page: Page) -> None:
    tags = page.get_by_role("group", name=re.compile("^Tags"))
    expect(tags.get_by_role("checkbox")).to_have_count(6)
    tags.get_by_role("button", name="more values of Tags").click()
    expect(tags.get_by_role("button", name="Fewer values of Tags")).to_be_focused()
    assert tags.get_by_role("checkbox").count() > 6


def test_values_of_a_long_list_can_be_searched(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page(f"{service.url}/?category=book")
    group = page.locator(".specification", has_text="pages")
    group.locator("summary").click()
    field_of_pages = group.get_by_role("searchbox", name="Find a value of pages")
    every = group.get_by_role("button", name="more values of pages")
    expect(every).to_be_visible()
    field_of_pages.fill("0")
    expect(every).to_be_hidden()
    texts = group.locator(".option-text").all_inner_texts()
    assert texts, "some numbers of pages contain 0"
    assert all("0" in text for text in texts)
    field_of_pages.fill("no such value")
    expect(group.locator(".option")).to_have_count(0)
    expect(field_of_pages).to_be_focused()
    field_of_pages.fill("")
    expect(every).to_be_visible()
    field_of_pages.fill("0")
    group.get_by_role("checkbox").first.check()
    expect(page.get_by_role("button", name=re.compile("^pages: "))).to_be_visible()
    expect(field_of_pages).to_be_hidden()


def test_focus_stays_on_the_chosen_filter(page: Page) -> None:
    box = page.get_by_role("checkbox", name=re.compile("^electronics"))
    box.press("Space")
    expect(page.get_by_role("button", name="tag: electronics")).to_be_visible()
    expect(page.locator("#products")).not_to_have_attribute("aria-busy", "true")
    expect(box).to_be_focused()
    assert focused(page) != "body"
