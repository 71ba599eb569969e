"""A killed worker: the page leaves out its products, says so, and shows them again later."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from helpers.embedded import EmbeddedServers
from helpers.lab.background_programs import start_service
from helpers.shop import open_shop
from helpers.shop.seeding import seed
from tests.e2e.browser.conftest import Opening
from tests.e2e.browser.looking import FAILED_REQUEST, card, cards, field
from tests.e2e.servers.server_helpers import kill_processes, main_pids

pytestmark = [pytest.mark.servers, pytest.mark.verify]


def test_products_of_an_unavailable_node_are_left_out_with_a_note(
    open_page: Opening, own_servers: EmbeddedServers
) -> None:
    with open_shop(own_servers.settings) as stores:
        seed(stores, 20, orders=False)
        with start_service(stores) as service:
            page = open_page(service.url, may=FAILED_REQUEST, fast=True)
            count = page.locator("#count")
            expect(count).to_have_text("20 products, no more")
            kill_processes({"worker1": main_pids(own_servers)["worker1"]})
            # Product 1 is on worker1, product 2 is not. Earlier values stay, with their time.
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
