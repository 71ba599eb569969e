"""What is missing when a store is down is said where it is missing; all else stays, and it heals.

The stores are not stopped: the links to them are cut, or the service is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.faces.background import Served, served
from helpers.stores import Stores
from helpers.stores.linked import LinkedStores
from tests.browser.conftest import Opening
from tests.browser.looking import FAILED_REQUEST, PAGE, card, cards, field, keep_screenshot


@pytest.fixture(autouse=True)
def mended(far: LinkedStores) -> Iterator[None]:
    """After each test, all links pass again."""
    yield
    far.links.restore()


def _open(open_page: Opening, service: Served, query: str = "") -> Page:
    return open_page(f"{service.url}/{query}", may=FAILED_REQUEST)


def _said_of(page: Page, store: str) -> Locator:
    """Return what the legend says of a store."""
    return page.locator(".legend li", has_text=store).locator(".legend-state")


def _again(page: Page) -> Locator:
    return page.get_by_role("button", name="Try again now")


def _countdown(page: Page) -> Locator:
    return page.locator("#outage-countdown")


def test_without_redis_names_and_prices_stay_and_stock_is_unknown(
    open_page: Opening, far_service: Served, far: LinkedStores
) -> None:
    page = _open(open_page, far_service)
    expect(field(card(page, 1), "stock")).to_have_text("15 in stock")
    far.links.redis.cut()
    stocks = field(cards(page), "stock")
    expect(stocks.first).to_have_text("Redis does not answer: stock unknown")
    assert set(stocks.all_inner_texts()) == {"Redis does not answer: stock unknown"}
    expect(field(card(page, 1), "name")).to_have_text("Laptop A")
    expect(field(card(page, 1), "price")).to_contain_text("1200")
    expect(field(card(page, 1), "description")).to_have_text("High-performance laptop")
    expect(_said_of(page, "Redis")).to_have_text("does not answer")
    expect(page.get_by_role("checkbox", name="In stock only")).to_be_disabled()
    expect(page.locator("#outage")).to_be_hidden()
    keep_screenshot(page, "redis-away")
    far.links.restore()
    expect(field(card(page, 1), "stock")).to_have_text("15 in stock")
    expect(page.get_by_role("checkbox", name="In stock only")).to_be_enabled()
    expect(_said_of(page, "Redis")).to_contain_text("1 round trip")


def test_a_page_that_is_opened_without_redis_fills_itself_later(
    open_page: Opening, far_service: Served, far: LinkedStores
) -> None:
    far.links.redis.cut()
    page = _open(open_page, far_service)
    expect(cards(page)).to_have_count(PAGE)
    expect(field(card(page, 3), "stock")).to_have_text("Redis does not answer: stock unknown")
    far.links.restore()
    expect(field(card(page, 3), "stock")).to_have_text("22 in stock")


def test_without_mongodb_its_fields_say_so_and_come_back(
    open_page: Opening, far_service: Served, far: LinkedStores
) -> None:
    far.links.mongo.cut()
    page = _open(open_page, far_service)
    expect(field(card(page, 2), "name")).to_have_text("Phone B")
    expect(field(card(page, 2), "stock")).to_have_text("8 in stock")
    metadata = card(page, 2).locator('[data-store="MongoDB"]')
    expect(metadata).to_contain_text("MongoDB does not answer: description, tags and spec")
    expect(_said_of(page, "MongoDB")).to_have_text("does not answer")
    tags = page.get_by_role("group", name=re.compile("^Tags"))
    expect(tags).to_contain_text("MongoDB does not answer")
    expect(page.get_by_role("radio", name="laptop")).to_be_enabled()
    keep_screenshot(page, "mongodb-away")
    far.links.restore()
    expect(field(card(page, 2), "description")).to_have_text("Smartphone with AMOLED display")
    expect(tags.get_by_role("checkbox").first).to_be_enabled()
    expect(tags).not_to_contain_text("does not answer")


def test_what_mongodb_said_before_stays_with_its_time(
    open_page: Opening, far_service: Served, far: LinkedStores
) -> None:
    page = _open(open_page, far_service)
    expect(cards(page)).to_have_count(PAGE)
    far.links.mongo.cut()
    source = card(page, 1).locator('[data-store="MongoDB"] .source')
    expect(source).to_contain_text(re.compile(r"does not answer; as of \d\d:\d\d:\d\d"))
    expect(field(card(page, 1), "description")).to_have_text("High-performance laptop")
    far.links.restore()
    expect(source).to_have_text("MongoDB · productmetas")


def test_without_postgresql_a_banner_says_what_is_away_until_it_is_back(
    open_page: Opening, far_service: Served, far: LinkedStores
) -> None:
    far.links.postgres.cut()
    page = _open(open_page, far_service)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("PostgreSQL does not answer.")
    expect(page.get_by_role("heading", name="The shop")).to_be_visible()
    expect(page.locator("#empty")).to_contain_text("as soon as they can be read")
    expect(_countdown(page)).to_contain_text("Tries again in")
    keep_screenshot(page, "postgresql-away")
    far.links.restore()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()
    expect(page.get_by_role("radio", name="laptop")).to_be_enabled()


@pytest.fixture
def halted(open_page: Opening, far_service: Served, far: LinkedStores) -> Page:
    """A page without PostgreSQL whose clock stands still: only the button tries again."""
    page = open_page("about:blank", may=FAILED_REQUEST)
    page.clock.install(time=0)
    far.links.postgres.cut()
    page.goto(f"{far_service.url}/")
    expect(_again(page)).to_be_visible()
    page.clock.pause_at(3_600_000)
    expect(_countdown(page)).to_contain_text("Tries again in")
    return page


def test_whoever_does_not_want_to_wait_tries_again_by_a_button(
    halted: Page, far: LinkedStores
) -> None:
    far.links.restore()
    # The first tries may meet a connection that was cut.
    for _ in range(20):
        _again(halted).press("Enter")
        expect(_countdown(halted)).not_to_have_text("Trying …")
        if halted.locator("#outage").is_hidden():
            break
    expect(cards(halted)).to_have_count(PAGE)
    expect(halted.locator("#outage")).to_be_hidden()
    expect(halted.locator("#products-title")).to_be_focused()


def test_what_is_on_its_way_is_not_asked_for_once_more(halted: Page) -> None:
    halted.evaluate(
        """() => {
            window.asked = [];
            window.fetch = (path) => {
                window.asked.push(path);
                return new Promise(() => {});
            };
        }"""
    )
    for _ in range(3):
        _again(halted).press("Enter")
        expect(_countdown(halted)).to_have_text("Trying …")
    asked = [urlsplit(path).path for path in halted.evaluate("window.asked")]
    assert "/api/products" in asked
    assert len(asked) == len(set(asked))


def test_what_was_shown_stays_while_postgresql_is_away(
    open_page: Opening, far_service: Served, far: LinkedStores
) -> None:
    page = _open(open_page, far_service)
    expect(cards(page)).to_have_count(PAGE)
    far.links.postgres.cut()
    expect(page.get_by_role("alert")).to_contain_text("PostgreSQL does not answer.")
    expect(cards(page)).to_have_count(PAGE)
    page.get_by_role("radio", name="laptop").check()
    expect(page.locator("#count")).to_have_text("Those of before: the new list is not here yet")
    expect(page.locator("#products")).to_have_attribute("aria-busy", "true")
    far.links.restore()
    expect(page.locator("#outage")).to_be_hidden()
    expect(field(cards(page).nth(1), "name")).to_contain_text("Laptop")
    expect(page.locator("#products")).not_to_have_attribute("aria-busy", "true")


@pytest.mark.parametrize(
    ("query", "store"), [("?in_stock=true", "Redis"), ("?tag=electronics", "MongoDB")]
)
def test_filters_of_a_store_that_is_away_can_be_gone_without(
    open_page: Opening, far_service: Served, far: LinkedStores, query: str, store: str
) -> None:
    {"Redis": far.links.redis, "MongoDB": far.links.mongo}[store].cut()
    page = _open(open_page, far_service, query)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text(f"{store} does not answer.")
    page.get_by_role("button", name=f"Go on without {store}’s filters").click()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()
    assert urlsplit(page.url).query == ""


def test_a_service_that_was_stopped_is_missed_and_found_again(
    open_page: Opening, shop: Stores
) -> None:
    with served(shop) as running:
        page = _open(open_page, running)
        expect(cards(page)).to_have_count(PAGE)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("The service does not answer.")
    expect(banner).to_contain_text("python -m helpers serve")
    expect(cards(page)).to_have_count(PAGE)
    expect(field(card(page, 1), "name")).to_have_text("Laptop A")
    source = card(page, 1).locator(".source").last
    expect(source).to_contain_text(re.compile(r"as of \d\d:\d\d:\d\d"))
    keep_screenshot(page, "service-away")
    port = str(urlsplit(page.url).port)
    with served(shop, "--port", port):
        expect(page.locator("#outage")).to_be_hidden()
        expect(source).to_have_text("Redis · stock:1")
        expect(page.get_by_role("status")).to_have_text("Everything answers again.")


def test_an_address_that_asks_for_nonsense_says_what_is_wrong(
    open_page: Opening, far_service: Served
) -> None:
    page = _open(open_page, far_service, "?spec.RAM=16GB")
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("cannot answer what this page’s address asks for")
    expect(banner).to_contain_text("RAM")
    expect(_again(page)).to_be_hidden()
    page.locator("#outage").get_by_role("button", name="Remove all filters").click()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()


def test_a_next_page_that_is_refused_is_said_and_the_list_can_be_loaded_anew(
    open_page: Opening, service: Served
) -> None:
    page = _open(open_page, service)
    page.route(
        "**/api/products?*cursor=*",
        lambda route: route.continue_(url=f"{service.url}/api/products?cursor=x"),
    )
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("alert")).to_contain_text("cursor")
    page.get_by_role("button", name="Load the list anew").click()
    expect(page.locator("#outage")).to_be_hidden()
    expect(cards(page)).to_have_count(PAGE)


def test_an_empty_shop_says_how_to_fill_it_and_shows_what_is_filled_in(
    open_page: Opening, shop: Stores, service: Served
) -> None:
    rows = shop.postgres.execute("SELECT id, name, price, category FROM products").fetchall()
    shop.postgres.execute("DELETE FROM products")
    try:
        page = _open(open_page, service)
        expect(page.locator("#empty")).to_contain_text("python -m helpers seed")
    finally:
        with shop.postgres.cursor() as cursor:
            cursor.executemany("INSERT INTO products VALUES (%s, %s, %s, %s)", rows)
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#empty")).to_be_hidden()
