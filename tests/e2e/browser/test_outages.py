"""Unavailable stores: the page shows what is missing, keeps the rest, and recovers.

The proxies to the stores, or the one to the service, are cut; no server is stopped. Further tests
without Redis and without PostgreSQL are in ``test_storefront.py``.
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


def _legend_state(page: Page, store: str) -> Locator:
    """Return the state of a store in the legend."""
    return page.locator(".legend li", has_text=store).locator(".legend-state")


def _retry_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Try again now")


def _countdown(page: Page) -> Locator:
    return page.locator("#outage-countdown")


def test_a_page_opened_without_redis_shows_the_stock_later(
    open_page: Opening, service: ServiceProcess, proxies: Proxies
) -> None:
    proxies.redis.cut()
    page = _open(open_page, service)
    expect(cards(page)).to_have_count(PAGE)
    expect(field(card(page, 3), "stock")).to_have_text("Redis does not answer: stock unknown")
    proxies.restore()
    expect(field(card(page, 3), "stock")).to_have_text("22 in stock")


def test_without_mongodb_its_fields_are_unknown_until_it_recovers(
    open_page: Opening, service: ServiceProcess, proxies: Proxies
) -> None:
    proxies.mongo.cut()
    page = _open(open_page, service)
    expect(field(card(page, 2), "name")).to_have_text("Phone B")
    expect(field(card(page, 2), "stock")).to_have_text("8 in stock")
    metadata = card(page, 2).locator('[data-store="MongoDB"]')
    expect(metadata).to_contain_text("MongoDB does not answer: description, tags and spec")
    expect(_legend_state(page, "MongoDB")).to_have_text("does not answer")
    tags = page.get_by_role("group", name=re.compile("^Tags"))
    expect(tags).to_contain_text("MongoDB does not answer")
    expect(page.get_by_role("radio", name="laptop")).to_be_enabled()
    keep_screenshot(page, "mongodb-away")
    proxies.restore()
    expect(field(card(page, 2), "description")).to_have_text("Smartphone with AMOLED display")
    expect(tags.get_by_role("checkbox").first).to_be_enabled()
    expect(tags).not_to_contain_text("does not answer")


def test_without_postgresql_there_is_a_banner_until_it_recovers(
    open_page: Opening, service: ServiceProcess, proxies: Proxies
) -> None:
    proxies.postgres.cut()
    page = _open(open_page, service)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("PostgreSQL does not answer.")
    expect(page.get_by_role("heading", name="The shop")).to_be_visible()
    expect(page.locator("#empty")).to_contain_text("as soon as they can be loaded")
    expect(_countdown(page)).to_contain_text("Next try in")
    keep_screenshot(page, "postgresql-away")
    proxies.restore()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()
    expect(page.get_by_role("radio", name="laptop")).to_be_enabled()


@pytest.fixture
def stopped_clock(open_page: Opening, service: ServiceProcess, proxies: Proxies) -> Page:
    """A page without PostgreSQL and with a stopped clock: only the button retries."""
    page = open_page("about:blank", may=FAILED_REQUEST)
    page.clock.install(time=0)
    proxies.postgres.cut()
    page.goto(f"{service.url}/")
    expect(_retry_button(page)).to_be_visible()
    page.clock.pause_at(3_600_000)
    expect(_countdown(page)).to_contain_text("Next try in")
    return page


def test_the_button_retries_at_once(stopped_clock: Page, proxies: Proxies) -> None:
    proxies.restore()
    # The first retries may use a broken connection.
    for _ in range(20):
        _retry_button(stopped_clock).press("Enter")
        expect(_countdown(stopped_clock)).not_to_have_text("Trying …")
        if stopped_clock.locator("#outage").is_hidden():
            break
    expect(cards(stopped_clock)).to_have_count(PAGE)
    expect(stopped_clock.locator("#outage")).to_be_hidden()
    expect(stopped_clock.locator("#products-title")).to_be_focused()


def test_a_running_request_is_not_repeated(stopped_clock: Page) -> None:
    stopped_clock.evaluate(
        """() => {
            window.requested = [];
            window.fetch = (path) => {
                window.requested.push(path);
                return new Promise(() => {});
            };
        }"""
    )
    for _ in range(3):
        _retry_button(stopped_clock).press("Enter")
        expect(_countdown(stopped_clock)).to_have_text("Trying …")
    requested = [urlsplit(path).path for path in stopped_clock.evaluate("window.requested")]
    assert "/api/products" in requested
    assert len(requested) == len(set(requested))


@pytest.mark.parametrize(
    ("query", "store"), [("?in_stock=true", "Redis"), ("?tag=electronics", "MongoDB")]
)
def test_filters_of_an_unavailable_store_can_be_removed(
    open_page: Opening, service: ServiceProcess, proxies: Proxies, query: str, store: str
) -> None:
    {"Redis": proxies.redis, "MongoDB": proxies.mongo}[store].cut()
    page = _open(open_page, service, query)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text(f"{store} does not answer.")
    page.get_by_role("button", name=f"Go on without {store}’s filters").click()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()
    assert urlsplit(page.url).query == ""


@pytest.fixture
def gate(service: ServiceProcess) -> Iterator[TcpProxy]:
    """A proxy to the service: when it is cut, the browser cannot reach the service."""
    # The scheme of the address does not matter to the proxy.
    with closing(TcpProxy(f"redis://127.0.0.1:{urlsplit(service.url).port}")) as proxy:
        yield proxy


def test_the_page_recovers_when_the_service_is_reachable_again(
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
    expect(page.get_by_role("status")).to_have_text("All stores are available again.")


def test_invalid_parameters_in_the_address_are_explained(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = _open(open_page, service, "?spec.$ram=16GB")
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("refuses the parameters in this page’s address")
    expect(banner).to_contain_text("$ram")
    expect(_retry_button(page)).to_be_hidden()
    page.locator("#outage").get_by_role("button", name="Remove all filters").click()
    expect(cards(page)).to_have_count(PAGE)
    expect(page.locator("#outage")).to_be_hidden()


def test_after_an_invalid_cursor_the_list_can_be_reloaded(
    open_page: Opening, service: ServiceProcess
) -> None:
    page = _open(open_page, service)
    page.route(
        "**/api/products?*cursor=*",
        lambda route: route.continue_(url=f"{service.url}/api/products?cursor=x"),
    )
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("alert")).to_contain_text("cursor")
    page.get_by_role("button", name="Reload the list").click()
    expect(page.locator("#outage")).to_be_hidden()
    expect(cards(page)).to_have_count(PAGE)


def test_an_empty_shop_explains_how_to_seed_it_and_shows_new_products(
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
