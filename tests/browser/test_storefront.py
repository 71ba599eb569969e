"""The storefront shows the shop, says where each field comes from, and keeps up with the stock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from helpers.faces import palette
from helpers.faces.background import Served
from helpers.shop.generate import ORIGINALS
from helpers.shop.model import stock_key
from helpers.shop.stock import Stock
from helpers.stores import Stores
from tests.browser.conftest import Opening
from tests.browser.looking import (
    COUNT,
    PAGE,
    card,
    cards,
    field,
    focused,
    keep_screenshot,
    shown_ids,
    store_of,
)
from tests.waiting import wait_until

COLOURS = {"PostgreSQL": palette.POSTGRES, "MongoDB": palette.MONGO, "Redis": palette.REDIS}
STORES = {
    "name": "PostgreSQL",
    "price": "PostgreSQL",
    "description": "MongoDB",
    "tags": "MongoDB",
    "specifications": "MongoDB",
    "stock": "Redis",
}


def _asked(page: Page) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(page.url).query)


def test_the_originals_products_are_shown_as_the_stores_have_them(page: Page) -> None:
    assert shown_ids(page) == list(range(1, PAGE + 1))
    for product in ORIGINALS:
        shown = card(page, product.id)
        metadata = product.metadata or {}
        expect(shown.get_by_role("heading", name=product.name, exact=True)).to_be_visible()
        expect(field(shown, "price")).to_have_text(f"Price: {product.price}")
        expect(field(shown, "description")).to_have_text(metadata["description"])
        assert field(shown, "tags").get_by_role("listitem").all_inner_texts() == metadata["tags"]
        rows = field(shown, "specifications").locator("div")
        specifications = metadata["specifications"].items()
        assert [row.split("\n") for row in rows.all_inner_texts()] == [
            [name, value] for name, value in specifications
        ]
        expect(field(shown, "stock")).to_have_text(f"{product.stock} in stock")
    keep_screenshot(page, "products")


def test_each_field_wears_the_colour_and_the_name_of_its_store(page: Page) -> None:
    for name, store in STORES.items():
        part = field(card(page, 1), name)
        assert store_of(part) == (store, COLOURS[store])
        wearing = part.locator("xpath=ancestor::*[@data-store][1]")
        expect(wearing.locator(".source")).to_contain_text(store)
    expect(card(page, 1).locator(".source").last).to_have_text("Redis · stock:1")


def test_filters_and_legend_wear_the_same_colours(page: Page) -> None:
    groups = {"Category": "PostgreSQL", "Availability": "Redis", "Tags": "MongoDB"}
    for name, store in groups.items():
        group = page.get_by_role("group", name=re.compile(f"^{name}"))
        assert store_of(group) == (store, COLOURS[store])
    for item, store in zip(page.locator(".legend li").all(), COLOURS, strict=True):
        assert store_of(item) == (store, COLOURS[store])
        expect(item).to_contain_text(re.compile(rf"{store}.*1 round trip, [\d.]+ ms", re.DOTALL))


def test_colour_is_not_the_only_sign(page: Page) -> None:
    patterns = page.locator(".legend li").evaluate_all(
        "all => all.map((one) => getComputedStyle(one, '::before').backgroundImage)"
    )
    assert len(set(patterns)) == 3


def test_filters_change_list_and_address_and_back_undoes_them(page: Page) -> None:
    page.get_by_role("radio", name="laptop").check()
    expect(field(cards(page).first, "name")).to_have_text("Laptop A")
    expect(page).to_have_url(re.compile(r"/\?category=laptop$"))
    expect(page.locator("#products")).not_to_have_attribute("aria-busy", "true")
    names = field(cards(page), "name").all_inner_texts()
    assert len(names) > 1
    assert all(name.startswith("Laptop") for name in names)
    laptops = shown_ids(page)

    page.locator(".specification", has_text="ram").locator("summary").click()
    page.get_by_role("checkbox", name=re.compile("^16GB")).check()
    expect(page.get_by_role("button", name="ram: 16GB")).to_be_visible()
    assert _asked(page) == [("category", "laptop"), ("spec.ram", "16GB")]
    expect(cards(page)).not_to_have_count(len(laptops))
    for row in field(cards(page), "specifications").all_inner_texts():
        assert "16GB" in row

    page.get_by_role("checkbox", name="In stock only").check()
    expect(page.get_by_role("button", name="in stock only")).to_be_visible()
    assert _asked(page)[-1] == ("in_stock", "true")
    keep_screenshot(page, "filters")

    for _ in range(2):
        page.go_back()
    expect(page.get_by_role("button", name="ram: 16GB")).to_be_hidden()
    expect(cards(page)).to_have_count(len(laptops))
    assert shown_ids(page) == laptops
    page.go_back()
    expect(cards(page)).to_have_count(PAGE)
    assert shown_ids(page) == list(range(1, PAGE + 1))
    expect(page.get_by_role("radio", name="laptop")).not_to_be_checked()
    page.go_forward()
    expect(page.get_by_role("radio", name="laptop")).to_be_checked()


def test_a_shared_link_shows_what_it_says(open_page: Opening, service: Served) -> None:
    page = open_page(f"{service.url}/?category=phone&tag=electronics&spec.storage=128GB&page=7")
    expect(field(card(page, 2), "name")).to_have_text("Phone B")
    expect(page.get_by_role("radio", name="phone")).to_be_checked()
    expect(page.get_by_role("checkbox", name=re.compile("^electronics"))).to_be_checked()
    expect(page.get_by_role("checkbox", name=re.compile("^128GB"))).to_be_checked()
    expect(page).to_have_title("category: phone, tag: electronics, storage: 128GB · The shop")


def test_chips_take_filters_away(open_page: Opening, service: Served) -> None:
    page = open_page(f"{service.url}/?category=book&tag=books&spec.pages=100..300")
    expect(cards(page).first).to_be_visible()
    page.get_by_role("button", name="tag: books").press("Enter")
    expect(page.get_by_role("button", name="pages: 100 to 300")).to_be_focused()
    assert _asked(page) == [("category", "book"), ("spec.pages", "100..300")]
    page.get_by_role("button", name="Remove all").press("Enter")
    expect(page.locator("#chips")).to_be_hidden()
    expect(page.locator("#products-title")).to_be_focused()
    expect(cards(page)).to_have_count(PAGE)


def test_numbers_are_filtered_by_their_ends(open_page: Opening, service: Served) -> None:
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


def test_filters_that_nothing_meets_can_be_taken_away(open_page: Opening, service: Served) -> None:
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


def test_more_products_are_appended_until_all_are_shown(page: Page) -> None:
    more = page.get_by_role("button", name="Show more")
    for shown in range(2 * PAGE, COUNT + 1, PAGE):
        more.press("Enter")
        expect(cards(page)).to_have_count(shown)
        assert shown_ids(page) == list(range(1, shown + 1)), "none twice, none left out"
    expect(more).to_be_hidden()
    expect(page.locator("#count")).to_have_text(f"{COUNT} products, no more")
    last = card(page, COUNT - PAGE + 1)
    expect(last.get_by_role("button")).to_be_focused()


def _texts_of(part: Locator) -> Callable[[], list[str]]:
    """Note each text that the stock within a part will have; return how to read the notes."""
    notes = part.evaluate_handle(
        """(part) => {
            const notes = [];
            const note = () => notes.push(part.querySelector(".stock").textContent);
            new MutationObserver(note).observe(part, { childList: true, subtree: true });
            return notes;
        }"""
    )
    return notes.json_value


@pytest.fixture
def stock(shop: Stores) -> Iterator[Stock]:
    """The shop's stock; afterwards, that of product 1 is as it was."""
    stock = Stock.of(shop)
    yield stock
    stock.set_on_hand(1, 15)


def test_stock_follows_redis_without_moving_focus_or_page(
    page: Page, stock: Stock, shop: Stores
) -> None:
    button = card(page, 7).get_by_role("button")
    button.focus()
    before = page.evaluate("() => [scrollX, scrollY]")
    seen = _texts_of(card(page, 1).locator('[data-store="Redis"]'))
    stock.set_on_hand(1, 14)
    assert shop.redis.get(stock_key(1)) == "14"
    expect(field(card(page, 1), "stock")).to_have_text("14 in stock")
    assert seen() == ["14 in stockwas 15", "14 in stock"], "marked for a moment"
    expect(button).to_be_focused()
    assert page.evaluate("() => [scrollX, scrollY]") == before


def test_an_answer_of_before_is_not_taken_for_the_present(page: Page, stock: Stock) -> None:
    """The count is again what it was at the last refresh, but not what the list has shown since."""
    shown = field(card(page, 1), "stock")
    with page.expect_response(lambda one: one.status == 304):
        pass
    page.get_by_role("button", name="Pause").click()
    stock.set_on_hand(1, 14)
    page.get_by_role("radio", name="laptop").check()
    page.get_by_role("radio", name="Any").check()
    expect(cards(page)).to_have_count(PAGE)
    expect(shown).to_have_text("14 in stock")
    stock.set_on_hand(1, 15)
    page.get_by_role("button", name="Pause").click()
    expect(shown).to_have_text(re.compile("^15 in stock"))


def test_none_left_is_said_in_words(page: Page, stock: Stock) -> None:
    stock.set_on_hand(1, 0)
    expect(field(card(page, 1), "stock")).to_contain_text("Sold out")


def test_nothing_new_costs_no_body(page: Page) -> None:
    def is_refresh(url: str) -> bool:
        return f"/api/products?ids={','.join(map(str, range(1, PAGE + 1)))}&limit={PAGE}" in url

    with page.expect_response(lambda one: is_refresh(one.url) and one.status == 304) as waited:
        pass
    assert waited.value.request.headers["if-none-match"]
    expect(page.locator("#refresh-state")).to_contain_text("304, nothing changed")


def test_refreshing_can_be_paused(open_page: Opening, service: Served) -> None:
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


def test_products_come_where_their_places_were(open_page: Opening, service: Served) -> None:
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


def test_focus_stays_on_the_filter_that_was_chosen(page: Page) -> None:
    box = page.get_by_role("checkbox", name=re.compile("^electronics"))
    box.press("Space")
    expect(page.get_by_role("button", name="tag: electronics")).to_be_visible()
    expect(page.locator("#products")).not_to_have_attribute("aria-busy", "true")
    expect(box).to_be_focused()
    assert focused(page) != "body"
