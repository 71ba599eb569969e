"""The storefront: fields of the three stores, filters, orders, unavailable stores.

All browser tests of ``make test`` are in this module, so that one process starts one browser, one
shop and one service. The others run in ``make verify``.
"""

from __future__ import annotations

import re
import shutil
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from helpers.api.product_routes import specification_value
from helpers.api.responses import server_timing
from helpers.catalog.generator import ORIGINALS
from helpers.catalog.model import stock_key
from helpers.lab.background_programs import ServiceProcess
from helpers.metadata.filters import Between
from helpers.plots import palette
from helpers.stock import Stock
from helpers.stores import Stores
from helpers.stores.proxied_stores import Proxies
from helpers.stores.trace import Trace
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import (
    COUNT,
    FAILED_REQUEST,
    PAGE,
    call_each,
    card,
    cards,
    field,
    filters_of,
    find_browser,
    keep_screenshot,
    overflow,
    record_stock,
    shown_ids,
    store_of,
    tab_stops,
)

COLOURS = {"PostgreSQL": palette.POSTGRES, "MongoDB": palette.MONGO, "Redis": palette.REDIS}
STORES = {
    "name": "PostgreSQL",
    "price": "PostgreSQL",
    "description": "MongoDB",
    "tags": "MongoDB",
    "specifications": "MongoDB",
    "stock": "Redis",
}


def test_the_originals_products_are_shown_with_the_values_of_the_stores(still_page: Page) -> None:
    assert shown_ids(still_page) == list(range(1, PAGE + 1))
    expect(still_page.get_by_role("status")).to_have_text(f"{PAGE} products, there are more")
    for product in ORIGINALS:
        shown = card(still_page, product.id)
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
    keep_screenshot(still_page, "products")


def test_each_field_has_the_colour_and_the_name_of_its_store(still_page: Page) -> None:
    for name, store in STORES.items():
        part = field(card(still_page, 1), name)
        assert store_of(part) == (store, COLOURS[store])
        around = part.locator("xpath=ancestor::*[@data-store][1]")
        expect(around.locator(".source")).to_contain_text(store)
    expect(card(still_page, 1).locator(".source").last).to_have_text("Redis · stock:1")


def test_filters_and_legend_have_the_same_colours(still_page: Page) -> None:
    groups = {"Category": "PostgreSQL", "Availability": "Redis", "Tags": "MongoDB"}
    for name, store in groups.items():
        group = still_page.get_by_role("group", name=re.compile(f"^{name}"))
        assert store_of(group) == (store, COLOURS[store])
    for item, store in zip(still_page.locator(".legend li").all(), COLOURS, strict=True):
        assert store_of(item) == (store, COLOURS[store])
        expect(item).to_contain_text(re.compile(rf"{store}.*1 round trip, [\d.]+ ms", re.DOTALL))


def test_stores_also_differ_by_pattern(still_page: Page) -> None:
    patterns = still_page.locator(".legend li").evaluate_all(
        "all => all.map((item) => getComputedStyle(item, '::before').backgroundImage)"
    )
    assert len(set(patterns)) == 3


def test_take_apart_shows_the_fields_of_one_product_by_store(still_page: Page) -> None:
    button = card(still_page, 2).get_by_role("button", name="Take apart Phone B")
    button.click()
    drawer = still_page.get_by_role("dialog")
    expect(drawer.locator(".request-line")).to_have_text("GET /api/products/2")
    parts = drawer.locator(".answer pre")
    expect(parts).to_have_count(5)
    assert [(part.inner_text().split(":")[0], *store_of(part)) for part in parts.all()] == [
        ('"id"', "PostgreSQL", palette.POSTGRES),
        ('"name"', "PostgreSQL", palette.POSTGRES),
        ('"price"', "PostgreSQL", palette.POSTGRES),
        ('"metadata"', "MongoDB", palette.MONGO),
        ('"stock"', "Redis", palette.REDIS),
    ]
    keep_screenshot(still_page, "taken-apart")
    still_page.keyboard.press("Escape")
    expect(button).to_be_focused()


def test_filters_change_the_list_and_the_address_and_back_undoes_them(page: Page) -> None:
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
    assert filters_of(page) == [("category", "laptop"), ("spec.ram", "16GB")]
    expect(cards(page)).not_to_have_count(len(laptops))
    for row in field(cards(page), "specifications").all_inner_texts():
        assert "16GB" in row

    page.get_by_role("checkbox", name="In stock only").check()
    expect(page.get_by_role("button", name="in stock only")).to_be_visible()
    assert filters_of(page)[-1] == ("in_stock", "true")
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


def test_more_products_are_appended_until_all_are_shown(page: Page) -> None:
    more = page.get_by_role("button", name="Show more")
    for shown in range(2 * PAGE, COUNT + 1, PAGE):
        more.press("Enter")
        expect(cards(page)).to_have_count(shown)
        assert shown_ids(page) == list(range(1, shown + 1)), "each product once"
    expect(more).to_be_hidden()
    expect(page.locator("#count")).to_have_text(f"{COUNT} products, no more")
    last = card(page, COUNT - PAGE + 1)
    expect(last.get_by_role("button")).to_be_focused()


def test_an_order_lowers_the_stock_without_moving_focus_or_page(
    fast_page: Page, service: ServiceProcess, stock: Stock, shop: Stores
) -> None:
    expect(fast_page.locator("#refresh-state")).to_contain_text("304, nothing changed")
    button = card(fast_page, 7).get_by_role("button")
    button.focus()
    before = fast_page.evaluate("() => [scrollX, scrollY]")
    seen = record_stock(card(fast_page, 1).locator('[data-store="Redis"]'))
    order = {"product_id": 1, "quantity": 1, "customer_id": 7}
    placed = httpx.post(f"{service.url}/api/orders", json=order, headers=service.write_headers)
    assert placed.status_code == 201
    assert shop.redis.get(stock_key(1)) == "14"
    expect(field(card(fast_page, 1), "stock")).to_have_text("14 in stock")
    assert seen() == ["14 in stockwas 15", "14 in stock"], "the old value is shown for a moment"
    expect(button).to_be_focused()
    assert fast_page.evaluate("() => [scrollX, scrollY]") == before


def test_without_redis_or_mongodb_the_other_fields_stay(
    open_page: Opening, service: ServiceProcess, proxies: Proxies
) -> None:
    page = open_page(f"{service.url}/", may=FAILED_REQUEST, fast=True)
    expect(field(card(page, 1), "stock")).to_have_text("15 in stock")
    proxies.redis.cut()
    stocks = field(cards(page), "stock")
    expect(stocks.first).to_have_text("Redis does not answer: stock unknown")
    assert set(stocks.all_inner_texts()) == {"Redis does not answer: stock unknown"}
    expect(field(card(page, 1), "name")).to_have_text("Laptop A")
    expect(field(card(page, 1), "price")).to_contain_text("1200")
    expect(field(card(page, 1), "description")).to_have_text("High-performance laptop")
    state = page.locator(".legend li", has_text="Redis").locator(".legend-state")
    expect(state).to_have_text("does not answer")
    expect(page.get_by_role("checkbox", name="In stock only")).to_be_disabled()
    expect(page.locator("#outage")).to_be_hidden()
    keep_screenshot(page, "redis-away")
    proxies.restore()
    expect(field(card(page, 1), "stock")).to_have_text("15 in stock")
    expect(page.get_by_role("checkbox", name="In stock only")).to_be_enabled()
    expect(state).to_contain_text("1 round trip")
    proxies.mongo.cut()
    source = card(page, 1).locator('[data-store="MongoDB"] .source')
    expect(source).to_contain_text(re.compile(r"does not answer; as of \d\d:\d\d:\d\d"))
    expect(field(card(page, 1), "description")).to_have_text("High-performance laptop")
    proxies.restore()
    expect(source).to_have_text("MongoDB · productmetas")


def test_without_postgresql_the_products_stay_under_a_banner(
    open_page: Opening, service: ServiceProcess, proxies: Proxies
) -> None:
    page = open_page(f"{service.url}/", may=FAILED_REQUEST, fast=True)
    expect(cards(page)).to_have_count(PAGE)
    proxies.postgres.cut()
    expect(page.get_by_role("alert")).to_contain_text("PostgreSQL does not answer.")
    expect(cards(page)).to_have_count(PAGE)
    page.get_by_role("radio", name="laptop").check()
    expect(page.locator("#count")).to_have_text("Earlier products: the new list is not loaded yet")
    expect(page.locator("#products")).to_have_attribute("aria-busy", "true")
    proxies.restore()
    expect(page.locator("#outage")).to_be_hidden()
    expect(field(cards(page).nth(1), "name")).to_contain_text("Laptop")
    expect(page.locator("#products")).not_to_have_attribute("aria-busy", "true")


def test_tab_order_is_the_visual_order(page: Page) -> None:
    assert tab_stops(page, 200) == [
        "skip",
        "drawer-toggle",
        "filters",
        "refresh-pause",
        "products",
        "more",
    ]


def test_narrow_windows_do_not_scroll_sideways(still_page: Page) -> None:
    for width in (320, 640, 840, 1280):
        still_page.set_viewport_size({"width": width, "height": 900})
        assert overflow(still_page) == 0, width


# ---- Unit tests of the page's JavaScript modules ----


def test_without_a_browser_tests_are_skipped_except_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        find_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        find_browser()


def test_the_page_parses_server_timing(still_page: Page) -> None:
    trace = Trace()
    began = trace.beginning - 0.001
    for store, name in (("PostgreSQL", "SELECT"), ("Redis", "MGET"), ("MongoDB", "find")):
        trace.begin(store, name).extend()  # type: ignore[arg-type]
    header = f"total;dur=12.50, {server_timing(trace, began, shared=True)}"
    many = Trace()
    for _ in range(30):
        many.begin("MongoDB", "find").extend()
    cost, longer = call_each(
        still_page, "timing", "readTiming", (header,), (server_timing(many, many.beginning),)
    )
    assert cost["total"] == 12.5
    assert [store["store"] for store in cost["stores"]] == ["PostgreSQL", "MongoDB", "Redis"]
    assert all(store["roundTrips"] == 1 for store in cost["stores"])
    assert [request["what"] for request in cost["requests"]] == ["SELECT", "MGET", "find"]
    assert all(request["start"] >= 1 for request in cost["requests"])
    assert cost["unlisted"] == 0
    assert cost["notes"] == ["This response was shared with another request."]
    assert len(longer["requests"]) == 24, "the others are only counted"
    assert longer["unlisted"] == 6


def test_any_server_timing_header_is_parsed(still_page: Page) -> None:
    entries = {
        None: [],
        "": [],
        "miss": [{"name": "miss"}],
        'a;desc="x, y; z=1";dur=2': [{"name": "a", "desc": "x, y; z=1", "dur": "2"}],
        r'a;desc="say \"so\"" , b ;DUR=1': [
            {"name": "a", "desc": 'say "so"'},
            {"name": "b", "dur": "1"},
        ],
        "a;dur=, b": [{"name": "a", "dur": ""}, {"name": "b"}],
    }
    found = call_each(still_page, "timing", "parseServerTiming", *((header,) for header in entries))
    assert found == list(entries.values())


def test_strings_become_parameters_that_stay_strings(still_page: Page) -> None:
    values = ["16GB", "16", "1.50", "-3", "true", "false", "8..32", "..5", '"x"', 'a"b', " a "]
    values.append("a & b=c")
    parameters = call_each(still_page, "query", "valueText", *((value,) for value in values))
    assert [specification_value("spec.x", text) for text in parameters] == values


def test_numbers_and_booleans_become_parameters_of_their_type(still_page: Page) -> None:
    values = [16, 0, -3, 1.5, 1e-7, True, False]
    parameters = call_each(still_page, "query", "valueText", *((value,) for value in values))
    found = [specification_value("spec.x", text) for text in parameters]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


def test_values_that_cannot_be_filtered_by_are_not_offered(still_page: Page) -> None:
    values = ["", "x" * 201, None, {"a": 1}, [1], 1e30]
    parameters = call_each(still_page, "query", "valueText", *((value,) for value in values))
    assert parameters == [None] * len(values)


def test_a_range_becomes_a_parameter(still_page: Page) -> None:
    meant = {("100", "300"): Between(100, 300), ("", "2.5"): Between(None, 2.5)}
    texts = call_each(still_page, "query", "rangeText", *meant, ("", ""))
    assert texts.pop() is None
    assert [specification_value("spec.x", text) for text in texts] == list(meant.values())
    ends = call_each(still_page, "query", "readRange", *((text,) for text in texts))
    assert ends == [list(pair) for pair in meant]


def test_filters_are_shown_in_words(still_page: Page) -> None:
    words = {
        ("category", "laptop"): "category: laptop",
        ("in_stock", "true"): "in stock only",
        ("spec.ram_gb", "16"): "ram gb: 16",
        ("spec.bulb.socket", "E27"): "bulb socket: E27",
        ("spec.pages", "..300"): "pages: up to 300",
        ("spec.pages", "100.."): "pages: from 100",
        ("spec.pen", "true"): "pen: yes",
        ("spec.ram", '"16"'): "ram: 16",
        ("spec.x", "a..b"): "x: a..b",
    }
    assert call_each(still_page, "query", "filterText", *words) == list(words.values())


def test_unknown_and_repeated_filters_in_the_address_are_dropped(still_page: Page) -> None:
    search = "?tag=a&utm_source=x&tag=a&tag=b&limit=3&category=book&spec.ram=16GB&in_stock=true"
    found = call_each(still_page, "query", "readFilters", (search,))
    assert found == ["tag=a&tag=b&category=book&spec.ram=16GB&in_stock=true"]


def test_stock_counts_are_shown_in_words(still_page: Page) -> None:
    texts = {
        ("15", False): ["some", "15 in stock"],
        ("0", False): ["none", "Sold out"],
        (None, False): ["unknown", "Stock unknown: Redis has no count"],
        ("-1", False): ["odd", "Redis says “-1”, which is no count"],
        ("1e3", False): ["odd", "Redis says “1e3”, which is no count"],
        (None, True): ["unknown", "Redis does not answer: stock unknown"],
        ("15", True): ["unknown", "Redis does not answer: stock unknown"],
    }
    assert call_each(still_page, "cards", "stockText", *texts) == list(texts.values())


def test_values_from_the_stores_become_text_and_never_markup(still_page: Page) -> None:
    """Every string of this product is a script, and JavaScript would round its number."""
    whole = 2**53 + 1
    made: dict[str, Any] = still_page.evaluate(
        """async ([script, whole]) => {
            const { Cards } = await import("/storefront/cards.js");
            const { parseJSON } = await import("/storefront/values.js");
            const list = document.createElement("ul");
            const metadata = `{"description": ${script}, "tags": [${script}], ${script}: ${script},
                "specifications": {${script}: ${script}, "bulb": {"watts": ${whole}}}}`;
            const product = parseJSON(
                `{"id": 1, "name": ${script}, "price": ${script}, "metadata": ${metadata},
                  "stock": ${script}}`);
            const exchange = { body: [product], missing: new Set(), missingNodes: [],
                at: new Date() };
            new Cards(list, () => {}).replace(exchange);
            return { markup: list.querySelectorAll("img, script").length, text: list.textContent };
        }""",
        ["\"<img src=x onerror='window.ran = 1'><script>window.ran = 1</script>\"", str(whole)],
    )
    assert made["markup"] == 0
    assert made["text"].count("<img src=x onerror='window.ran = 1'>") >= 7
    assert f"bulb watts{whole}" in made["text"]
    assert still_page.evaluate("() => window.ran") is None
