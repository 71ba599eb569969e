"""What a node that was killed holds is left out of the page, in words, and comes back with it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from helpers.embedded import EmbeddedServers
from helpers.lab.background_programs import start_service
from helpers.shop import open_shop
from helpers.shop.seed import seed
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import FAILED_REQUEST, card, cards, field
from tests.e2e.servers.driving import kill, pids

pytestmark = [pytest.mark.servers, pytest.mark.verify]


def test_products_of_a_node_that_is_away_are_left_out_in_words(
    open_page: Opening, own_servers: EmbeddedServers
) -> None:
    with open_shop(own_servers.settings) as stores:
        seed(stores, 20, orders=False)
        with start_service(stores) as service:
            page = open_page(service.url, may=FAILED_REQUEST, fast=True)
            count = page.locator("#count")
            expect(count).to_have_text("20 products, no more")
            kill({"worker1": pids(own_servers)["worker1"]})
            # Product 1 is on it, product 2 is not: what was shown before stays, with its time.
            expect(field(card(page, 1), "name")).to_have_text("Laptop A")
            expect(card(page, 1)).to_contain_text("as of")
            assert card(page, 1).get_attribute("data-gone") is None
            page.reload()
            expect(count).to_contain_text(
                "Products on worker1, which does not answer, are left out: "
            )
            expect(cards(page).first).to_be_visible()
            expect(page.get_by_text("Laptop A")).to_have_count(0)
            own_servers.up()
            page.reload()
            expect(count).to_have_text("20 products, no more")
            expect(field(card(page, 1), "name")).to_have_text("Laptop A")
