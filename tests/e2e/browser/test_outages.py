"""What is missing when a store is down is said where it is missing; all else stays, and it heals.

Nothing is stopped: the links to the stores are cut, or the one to the service is. What a page says
without Redis, and what stays without PostgreSQL, is in ``test_storefront.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.lab.background_programs import ServiceProcess
from helpers.proxy.tcp_proxy import TcpProxy
from helpers.stores import Stores
from helpers.stores.proxied_stores import Proxies
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import FAILED_REQUEST, PAGE, card, cards, field, keep_screenshot

pytestmark = pytest.mark.verify


def _open(open_page: Opening, service: ServiceProcess, query: str = "") -> Page:
    return open_page(f"{service.url}/{query}", may=FAILED_REQUEST, fast=True)


def _said_of(page: Page, store: str) -> Locator:
    """Return what the legend says of a store."""
    return page.locator(".legend li", has_text=store).locator(".legend-state")


def _again(page: Page) -> Locator:
    return page.get_by_role("button", name="Try again now")


def _countdown(page: Page) -> Locator:
    return page.locator("#outage-countdown")


def test_a_page_that_is_opened_without_redis_fills_itself_later(
    open_page: Opening, service: ServiceProcess, links: Proxies
) -> None:
    links.redis.cut()
    page = _open(open_page, service)
    expect(cards(page)).to_have_count(PAGE)
    expect(field(card(page, 3), "stock")).to_have_text("Redis does not answer: stock unknown")
    links.restore()
    expect(field(card(page, 3), "stock")).to_have_text("22 in stock")


def test_without_mongodb_its_fields_say_so_and_come_back(
    open_page: Opening, service: ServiceProcess, links: Proxies
) -> None:
    links.mongo.cut()
    page = _open(open_page, service)
    expect(field(card(page, 2), "name")).to_have_text("Phone B")
    expect(field(card(page, 2), "stock")).to_have_text("8 in stock")
    metadata = card(page, 2).locator('[data-store="MongoDB"]')
    expect(metadata).to_contain_text("MongoDB does not answer: description, tags and spec")
    expect(_said_of(page, "MongoDB")).to_have_text("does not answer")
    tags = page.get_by_role("group", name=re.compile("^Tags"))
    expect(tags).to_contain_text("MongoDB does not answer")
    expect(page.get_by_role("radio", name="laptop")).to_be_enabled()
    keep_screenshot(page, "mongodb-away")
    links.restore()
    expect(field(card(page, 2), "description")).to_have_text("Smartphone with AMOLED display")
    expect(tags.get_by_role("checkbox").first).to_be_enabled()
    expect(tags).not_to_contain_text("does not answer")


def test_without_postgresql_a_banner_says_what_is_away_until_it_is_back(
    open_page: Opening, service: ServiceProcess, links: Proxies
) -> None:
    links.postgres.cut()
    page = _open(open_page, service)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("PostgreSQL does not answer.")
    expect(page.get_by_role("heading", name="The shop")).to_be_visible()
    expect(page.locator("#empty")).to_contain_text("as soon as they can be read")
    expect(_countdown(page)).to_contain_text("Tries again in")
    keep_screenshot(page, "postgresql-away")
    links.restore()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()
    expect(page.get_by_role("radio", name="laptop")).to_be_enabled()


@pytest.fixture
def halted(open_page: Opening, service: ServiceProcess, links: Proxies) -> Page:
    """A page without PostgreSQL whose clock stands still: only the button tries again."""
    page = open_page("about:blank", may=FAILED_REQUEST)
    page.clock.install(time=0)
    links.postgres.cut()
    page.goto(f"{service.url}/")
    expect(_again(page)).to_be_visible()
    page.clock.pause_at(3_600_000)
    expect(_countdown(page)).to_contain_text("Tries again in")
    return page


def test_whoever_does_not_want_to_wait_tries_again_by_a_button(
    halted: Page, links: Proxies
) -> None:
    links.restore()
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


@pytest.mark.parametrize(
    ("query", "store"), [("?in_stock=true", "Redis"), ("?tag=electronics", "MongoDB")]
)
def test_filters_of_a_store_that_is_away_can_be_gone_without(
    open_page: Opening, service: ServiceProcess, links: Proxies, query: str, store: str
) -> None:
    {"Redis": links.redis, "MongoDB": links.mongo}[store].cut()
    page = _open(open_page, service, query)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text(f"{store} does not answer.")
    page.get_by_role("button", name=f"Go on without {store}’s filters").click()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()
    assert urlsplit(page.url).query == ""


@pytest.fixture
def gate(service: ServiceProcess) -> Iterator[TcpProxy]:
    """A link to the service: when it is cut, the service is not there for the browser."""
    # Proxies are to stores; what passes is the same.
    with closing(TcpProxy(f"redis://127.0.0.1:{urlsplit(service.url).port}")) as link:
        yield link


def test_a_service_that_was_stopped_is_missed_and_found_again(
    open_page: Opening, gate: TcpProxy
) -> None:
    url = f"http://127.0.0.1:{urlsplit(gate.url).port}/"
    page = open_page(url, may=FAILED_REQUEST, fast=True)
    expect(cards(page)).to_have_count(PAGE)
    gate.cut()
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("The service does not answer.")
    expect(banner).to_contain_text("python -m helpers serve")
    expect(cards(page)).to_have_count(PAGE)
    expect(field(card(page, 1), "name")).to_have_text("Laptop A")
    source = card(page, 1).locator(".source").last
    expect(source).to_contain_text(re.compile(r"as of \d\d:\d\d:\d\d"))
    keep_screenshot(page, "service-away")
    gate.restore()
    expect(page.locator("#outage")).to_be_hidden()
    expect(source).to_have_text("Redis · stock:1")
    expect(page.get_by_role("status")).to_have_text("Everything answers again.")


def test_an_address_that_asks_for_nonsense_says_what_is_wrong(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = _open(open_page, service, "?spec.RAM=16GB")
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("cannot answer what this page’s address asks for")
    expect(banner).to_contain_text("RAM")
    expect(_again(page)).to_be_hidden()
    page.locator("#outage").get_by_role("button", name="Remove all filters").click()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()


def test_a_next_page_that_is_refused_is_said_and_the_list_can_be_loaded_anew(
    open_page: Opening, service: ServiceProcess
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
    open_page: Opening, shop: Stores, service: ServiceProcess
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
