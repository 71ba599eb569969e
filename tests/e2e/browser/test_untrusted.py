"""The contents of the stores are untrusted: any value is shown as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from helpers.catalog.model import Product, stock_key
from helpers.lab.background_programs import ServiceProcess
from helpers.shop.seeding import load
from helpers.stores import Stores
from tests.e2e.browser.conftest import Opening, opening_pages
from tests.e2e.browser.looking import card, cards, field, keep_screenshot, overflow

pytestmark = pytest.mark.verify

SCRIPT = '<img src=x onerror="window.ran = 1"><script>window.ran = 1</script>'
WHOLE = 2**53 + 1  # JavaScript would round it
FIRST = 501
ODD: list[Any] = [
    # Each is the metadata of one product. The first tries to run a script.
    {
        "description": SCRIPT,
        "tags": [SCRIPT, "ok"],
        "specifications": {SCRIPT: SCRIPT},
        SCRIPT: [SCRIPT],
    },
    {"specifications": {"bulb": {"socket": "E27", "watts": 9}, "sizes": [38, 39], "whole": WHOLE}},
    {"description": "W" * 5000, "tags": ["T" * 300] * 40, "specifications": {"s" * 300: "v" * 900}},
    {"specifications": {f"name_{n}": n for n in range(200)}},
    {"specifications": {"a": {"b": {"c": {"d": [1, {"e": None}]}}}, "empty": {}, "none": []}},
]
# The validator refuses these now, but an older shop may have them.
OLD: list[Any] = [
    {"description": {"x": 1}, "tags": "a text", "specifications": [1, 2, 3]},
    {"description": 42, "tags": {"a": 1}, "specifications": "a text"},
    {"description": None, "tags": None, "specifications": None},
    {"tags": [1, None, True, {"a": 2}, [3]]},
]
LAST = FIRST + len(ODD) + len(OLD)


@pytest.fixture(scope="module")
def odd_shop(shop: Stores) -> Iterator[Stores]:
    """The shop with products of the category "odd", which have unusual values."""
    known = [
        Product(FIRST + number, f"Odd {number} {SCRIPT}", Decimal(1), "odd", metadata, 5)
        for number, metadata in enumerate(ODD)
    ]
    known += [
        Product(FIRST + len(ODD) + number, f"Old {number}", Decimal(2), "odd", None, 5)
        for number in range(len(OLD))
    ]
    known.append(Product(LAST, "N" * 200, Decimal("9" * 8), "odd", None, None))
    load(shop, known)
    shop.mongo.command("collMod", "productmetas", validationLevel="off")
    try:
        for number, metadata in enumerate(OLD):
            shop.mongo.productmetas.insert_one(
                {"product_id": FIRST + len(ODD) + number, **metadata}
            )
        yield shop
    finally:
        shop.mongo.productmetas.delete_many({"product_id": {"$gte": FIRST}})
        shop.mongo.command("collMod", "productmetas", validationLevel="strict")
        shop.postgres.execute("DELETE FROM products WHERE id >= %s", [FIRST])
        shop.redis.delete(*(stock_key(product_id) for product_id in range(FIRST, LAST + 1)))


@pytest.fixture(scope="module")
def odd(browser: Browser, service: ServiceProcess, odd_shop: Stores) -> Iterator[Page]:
    """The page with these products. The tests share it, because they only unfold parts."""
    with opening_pages(browser) as opening:
        page = opening(f"{service.url}/?category=odd")
        expect(cards(page)).to_have_count(LAST - FIRST + 1)
        yield page


def test_names_and_metadata_are_text_and_run_nothing(odd: Page) -> None:
    first = card(odd, FIRST)
    expect(field(first, "name")).to_have_text(f"Odd 0 {SCRIPT}")
    expect(field(first, "description")).to_have_text(SCRIPT)
    expect(field(first, "tags").locator("li").first).to_contain_text("<img src=x")
    first.get_by_role("button").click()
    expect(odd.locator(".answer")).to_contain_text("<img src=x onerror=")
    assert odd.locator("#products img, #products script, #drawer img, #drawer script").count() == 0
    assert odd.evaluate("() => window.ran") is None
    keep_screenshot(odd, "untrusted")


def test_nested_values_and_lists_are_flattened(odd: Page) -> None:
    text = field(card(odd, FIRST + 1), "specifications").inner_text()
    assert re.sub(r"\s+", " ", text) == f"bulb socket E27 bulb watts 9 sizes 38, 39 whole {WHOLE}"


def test_long_and_many_values_do_not_change_the_size_of_a_card(odd: Page) -> None:
    boxes = [product.bounding_box() for product in cards(odd).all()]
    widths = {round(box["width"]) for box in boxes if box is not None}
    assert len(widths) == 1
    assert overflow(odd) == 0
    assert len(field(card(odd, FIRST + 2), "description").inner_text()) < 300
    assert field(card(odd, FIRST + 2), "tags").locator("li").last.inner_text() == "and 28 more"
    many = card(odd, FIRST + 3)
    many.locator("summary").click()
    expect(many.get_by_text("and 156 others")).to_be_visible()


def test_large_whole_numbers_keep_all_digits(odd: Page) -> None:
    card(odd, FIRST + 1).get_by_role("button").click()
    expect(odd.locator(".answer")).to_contain_text(f'"whole": {WHOLE}')


def test_values_of_the_wrong_type_are_shown(odd: Page) -> None:
    texts = []
    for number in range(len(OLD)):
        metadata = card(odd, FIRST + len(ODD) + number).locator('[data-store="MongoDB"]')
        text = re.sub(r"\s+", " ", metadata.inner_text()).strip()
        texts.append(text.removesuffix("MongoDB · productmetas").strip())
    assert texts == [
        '{"x":1} a text specifications 1, 2, 3',
        '42 {"a":1} specifications a text',
        "",
        '1 none yes {"a":2} 3',
    ]


def test_a_missing_value_is_unknown_and_not_zero(odd: Page) -> None:
    last = card(odd, LAST)
    expect(last.locator('[data-store="MongoDB"]')).to_contain_text("MongoDB has no document")
    expect(field(last, "stock")).to_have_text("Stock unknown: Redis has no count")


def test_narrow_windows_do_not_scroll_sideways(
    open_page: Opening, service: ServiceProcess, odd_shop: Stores
) -> None:
    page = open_page(f"{service.url}/?category=odd", 320, 700)
    expect(cards(page)).to_have_count(LAST - FIRST + 1)
    for summary in page.locator("#products summary").all():
        summary.click()
    assert overflow(page) == 0
