"""Accessibility: keyboard, screen reader, narrow and enlarged windows, dark mode."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from helpers.lab.background_programs import ServiceProcess
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import PAGE, card, cards, keep_screenshot, overflow, tab_stops

pytestmark = pytest.mark.verify

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

# Texts whose contrast with their background is below 4.5 (WCAG 2, 1.4.3).
_LOW_CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parts(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const pale = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const isSeen = element.checkVisibility({ visibilityProperty: true })
      && !element.closest(".visually-hidden, option, noscript");
    if (!walker.currentNode.data.trim() || !isSeen) continue;
    const pair = [parts(getComputedStyle(element).color).slice(0, 3), ground(element)].map(light);
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (contrast < 4.5) pale.push([element.className, walker.currentNode.data, contrast]);
  }
  return pale;
}"""

_WITHOUT_NAME = re.compile(r"- '?(button|link|checkbox|radio|combobox|spinbutton|textbox)(?! \")")


def test_tab_moves_into_the_opened_drawer(page: Page) -> None:
    page.locator("#drawer-toggle").press("Enter")
    assert tab_stops(page, 2) == ["drawer-close", "drawer-requests"]


def test_the_first_tab_stop_skips_the_filters(page: Page) -> None:
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the products")
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#products-title")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#refresh-pause")).to_be_focused()


def test_focus_is_visible(still_page: Page) -> None:
    for control in (
        still_page.locator("#drawer-toggle"),
        still_page.get_by_role("checkbox").first,
        card(still_page, 1).get_by_role("button"),
    ):
        control.focus()
        still_page.keyboard.press("Shift+Tab")
        still_page.keyboard.press("Tab")
        outline = control.evaluate(
            "(at) => [getComputedStyle(at).outlineStyle, getComputedStyle(at).outlineWidth]"
        )
        assert outline == ["solid", "3px"]


def test_every_control_has_a_name(page: Page) -> None:
    page.get_by_role("button", name="more names of Specifications").click()
    for summary in page.locator(".specification summary").all():
        summary.click()
    page.locator("#drawer-toggle").click()
    snapshot = page.locator("body").aria_snapshot()
    assert _WITHOUT_NAME.findall(snapshot) == []
    assert snapshot.count('- button "Take apart') == PAGE
    assert snapshot.count("- checkbox") > 6


def test_landmarks_lists_and_headings_describe_the_page(page: Page) -> None:
    for role, name in (
        ("banner", None),
        ("main", None),
        ("region", "Where each field comes from"),
        ("region", "Filters"),
        ("form", "Filters"),
        ("list", "Products"),
    ):
        expect(page.get_by_role(role, name=name)).to_have_count(1)  # type: ignore[arg-type]
    expect(page.get_by_role("list", name="Products").locator("> li")).to_have_count(PAGE)
    page.locator("#drawer-toggle").click()
    levels: list[int] = page.locator("h1, h2, h3, h4").evaluate_all(
        "all => all.filter((h) => h.checkVisibility()).map((h) => Number(h.localName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_screen_readers_announce_changes_only(fast_page: Page) -> None:
    announcer = fast_page.get_by_role("status")
    expect(announcer).to_have_text("24 products, there are more")
    fast_page.get_by_role("button", name="Show more").click()
    expect(announcer).to_have_text("24 more products. 48 products, there are more")
    with fast_page.expect_response(lambda response: response.status == 304):
        pass
    expect(fast_page.locator("#refresh-state")).to_contain_text("304")
    expect(announcer).to_have_text("24 more products. 48 products, there are more")


def test_every_text_has_enough_contrast_in_light_and_dark_mode(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = open_page(f"{service.url}/?tag=electronics&in_stock=true", color_scheme="light")
    expect(cards(page).first).to_be_visible()
    expect(page.locator("#products")).not_to_have_attribute("aria-busy", "true")
    cards(page).first.get_by_role("button").click()
    page.locator(".answer").wait_for()
    page.locator("#products").evaluate("(list) => list.getAnimations().map((a) => a.finish())")
    backgrounds: dict[str, str] = {}
    low: dict[str, list[Any]] = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        backgrounds[scheme] = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        low[scheme] = page.evaluate(_LOW_CONTRAST)
        keep_screenshot(page, scheme)
    assert backgrounds == {"light": "rgb(245, 245, 242)", "dark": "rgb(20, 22, 25)"}
    assert low == {"light": [], "dark": []}


# 640 pixels are a window of 1280 pixels at a zoom of 200 %.
def test_narrow_windows_do_not_scroll_sideways(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page(f"{service.url}/?category=laptop&spec.ram=16GB", 320, 700)
    expect(cards(page).first).to_be_visible()
    for width in (320, 640, 840):
        page.set_viewport_size({"width": width, "height": 700})
        assert overflow(page) == 0, width
        keep_screenshot(page, f"narrow-{width}")


def test_in_narrow_windows_filters_unfold(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page(f"{service.url}/", 320, 700)
    expect(cards(page)).to_have_count(PAGE)
    box = page.get_by_role("checkbox", name="In stock only")
    expect(box).to_be_hidden()
    toggle = page.get_by_role("button", name="Filters", exact=True)
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    box.press("Space")
    expect(page.get_by_role("button", name="Filters (1 chosen)")).to_be_visible()
    expect(box).to_be_checked()
    assert overflow(page) == 0
    page.get_by_role("button", name="Filters (1 chosen)").press("Enter")
    expect(box).to_be_hidden()


def test_reduced_motion_disables_animations(still_page: Page) -> None:
    still_page.emulate_media(reduced_motion="reduce")
    names = still_page.evaluate(
        """() => {
            const stock = document.querySelector('[data-field="stock"]');
            stock.dataset.changed = "";
            const style = getComputedStyle(stock);
            const names = [style.animationName, style.textDecorationLine];
            delete stock.dataset.changed;
            return names;
        }"""
    )
    still_page.emulate_media(reduced_motion="no-preference")
    assert names == ["none", "underline"], "a change is underlined instead"


def test_without_javascript_the_page_links_to_the_data(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = open_page(f"{service.url}/", java_script_enabled=False)
    link = page.get_by_role("main").get_by_role("link")
    expect(link).to_have_attribute("href", f"/api/products?limit={PAGE}")


def test_foreign_scripts_are_blocked(open_page: Opening, service: ServiceProcess) -> None:
    page = open_page(f"{service.url}/", may="violates the following Content Security Policy")
    expect(cards(page)).to_have_count(PAGE)
    refused = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => {
                event.preventDefault();
                resolve(event.violatedDirective);
            });
            const script = document.createElement("script");
            script.src = "data:text/javascript,window.ran = 1";
            document.body.append(script);
        })"""
    )
    assert refused == "script-src-elem"
    assert page.evaluate("() => window.ran") is None
